"""Looks at sealed rows: counted, shown, and after the first one only with a reason.

One decision: a look is the evaluations of sealed rows that a run shows together (the opponent, the tuned model, and whatever else the
project asks of these rows). It is recorded before the first of them is made, and evaluations that are finished are none, so going on
after a kill, running an unchanged project again, or judging the same answers by another level costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier.core.errors import UserError
from luthier.core.keys import digest
from luthier.core.stage import Stage
from luthier.pipeline.workspace import Workspace
from luthier.report.sections import Look

if TYPE_CHECKING:
    from luthier.core.database import Database

Shown = tuple[Stage[Any], ...]


def looks_at(workspace: Workspace) -> tuple[Look, ...]:
    """The looks at this project's sealed rows, the first one first."""
    return looks_in(workspace.database, workspace.graph.split.key())


def looks_in(database: Database, rows: str) -> tuple[Look, ...]:
    """The looks at the sealed rows of the split with this key."""
    return tuple(Look(when=row["created"], run=row["run"], reason=row["reason"] or "") for row in database.list_looks(rows))


def is_further(workspace: Workspace, shown: Shown | None = None) -> bool:
    """Whether `shown` (all that a run shows when not given) would be one more look at rows that have been looked at."""
    found = workspace.database.list_looks(workspace.graph.split.key())
    return bool(found) and not _seen(workspace, shown) and _what(workspace, shown) not in {row["what"] for row in found}


def demand_reason(workspace: Workspace, reason: str | None, shown: Shown | None = None) -> None:
    """Raise UserError when `shown` would be a further look and nobody says why; before any work is done."""
    if reason_of(workspace, reason) is None and is_further(workspace, shown):
        raise refused(looks_at(workspace))


def take_look(workspace: Workspace, run: int | None, reason: str | None, shown: Shown | None = None) -> int:
    """Record that the sealed rows are evaluated; returns the looks so far. Raises UserError as `demand_reason`."""
    given, rows = reason_of(workspace, reason), workspace.graph.split.key()
    looks = workspace.database.looks(rows)
    if looks and _seen(workspace, shown):
        return looks
    looks = workspace.database.add_look(rows, _what(workspace, shown), run, given, only_first=given is None)
    if not looks:
        raise refused(looks_at(workspace))
    return looks


def _what(workspace: Workspace, shown: Shown | None) -> str:
    return digest(["look", *sorted({stage.key() for stage in shown or workspace.graph.sealed()})])


def _seen(workspace: Workspace, shown: Shown | None) -> bool:
    """Whether every evaluation is finished already: its numbers are there for everybody to see."""
    return all(workspace.store.is_built(stage) for stage in shown or workspace.graph.sealed())


def reason_of(workspace: Workspace, reason: str | None) -> str | None:
    """The reason on the command line, else that of the project file; None where both are blank."""
    return next((text.strip() for text in (reason, workspace.project.evaluate.look_reason) if text and text.strip()), None)


def refused(looks: tuple[Look, ...]) -> UserError:
    """That rows with these looks are looked at again and nobody says why."""
    told = "; ".join(look.words() for look in looks)
    return UserError(
        "sealed test rows have one final look, and each further one needs a reason",
        f"none, after {'1 look' if len(looks) == 1 else f'{len(looks)} looks'} ({told})",
        "--reason, evaluate.look_reason",
        'run the same command with --reason "why", which the report prints; settings are chosen on validation rows: `luthier eval`',
    )
