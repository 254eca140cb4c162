"""The review queue of one data file: the rows that checks suspect, most surely wrong first.

One decision: a row stands once in the queue with everything that any check said about it; its rank is that of its surest finding.
What a check knows for certain (a conflict, an empty answer) has score 1 and comes before every suspicion.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.errors import UserError
from luthier.core.records import Record
from luthier.parts.checks.contract import WHOLE_SET, RecordsCheck
from luthier.parts.checks.label_errors import LabelErrors
from luthier.parts.checks.steps import load_step
from luthier.parts.sources.mapping import Mapping, shown_mapping
from luthier.parts.sources.mapping_base import plain
from luthier.parts.sources.rows import RawRow
from luthier.parts.sources.source import Opened, open_rows
from luthier.stages.data.check_rows import proposed
from luthier.stages.data.cleaning import failures_of
from luthier.stages.data.duplicates import Say, read_all

if TYPE_CHECKING:
    from luthier.core.database import Database
    from luthier.core.database.review import ReviewQueue

CHECKS = ("conflicts", "empty_answers", "echo", "refusals", "truncated_answers", "label_errors")
"""What fills a queue when no check is named."""
SAMPLE = "sample"
"""The name under which a row drawn at random stands in the queue."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What one check says about a row: why, how surely (0 to 1), and a label that would fit better."""

    check: str
    reason: str
    score: float = 1.0
    suggestion: str | None = None


@dataclass(frozen=True)
class ReviewPlan:
    """What is reviewed: the file, its mapping (None: the proposed one), the checks (steps; none: `CHECKS`).

    sample: how many rows that no check suspects are drawn at random (seeded) and put at the end.
    """

    path: Path
    mapping: Mapping | None = None
    checks: tuple[Any, ...] = ()
    sample: int = 0
    seed: int = 13


def open_queue(database: Database, plan: ReviewPlan, say: Say) -> ReviewQueue:
    """The queue of that file as it is now, under those checks: made when there is none, else the one with its decisions.

    Raises UserError for a file or a check that cannot be had, MachineError for a library that is missing.
    """
    from luthier.core.database.review import ReviewQueue

    mapping = plan.mapping or proposed(plan.path)
    steps = plan.checks or tuple(load_step(name) for name in CHECKS)
    content = content_of(plan.path)
    made_from = [content, shown_mapping(mapping), [step.model_dump(mode="json") for step in steps], bool(plan.checks)]
    made_from += [plan.sample, plan.seed] if plan.sample else []
    identity = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    found = ReviewQueue.find(database, identity)
    if found is not None:
        return found
    records, set_aside = read_all(plan.path, mapping, say)
    notes: list[str] = []
    by_place: dict[str, list[Suspicion]] = {}
    for step in steps:
        for row, suspicion in _suspected(records, step, bool(plan.checks), notes, say):
            by_place.setdefault(records[row].source.at, []).append(suspicion)
    unsuspected = sorted({r.source.at for r in records} - set(by_place))
    for place in random.Random(plan.seed).sample(unsuspected, min(plan.sample, len(unsuspected))):
        by_place[place] = [Suspicion(SAMPLE, "drawn at random among the rows that no check suspects", 0.0)]
    label_of = {r.source.at: label for r in records if (label := getattr(r, "label", None)) is not None}
    column = str(getattr(mapping, "label", "")) if mapping.kind == "classification" else ""
    items, values = _items(open_rows(plan.path, mapping=mapping), by_place, label_of, column)
    body = {
        "path": str(plan.path.resolve()),
        "sha256": content,
        "mapping": shown_mapping(mapping),
        "checks": [step.kind for step in steps],
        "label_column": column,
        "labels": values,
        "rows": len(records),
        "set_aside": set_aside,
        "notes": notes,
    }
    return ReviewQueue.create(database, identity, plan.path.name, body, items)


def content_of(path: Path) -> str:
    """The sha256 of a file's bytes. Raises UserError when there is no such file."""
    if not path.is_file():
        raise UserError("the file must exist", str(path))
    found = hashlib.sha256()
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _suspected(records: Sequence[Record], step: Any, asked_for: bool, notes: list[str], say: Say) -> list[tuple[int, Suspicion]]:
    """(row, suspicion) of one check; what it says about the whole goes to `notes`, as does a check of `CHECKS` that cannot judge."""
    kind = step.kind
    if isinstance(step, RecordsCheck):
        try:
            found = step.findings(step.judge(records, say)) if isinstance(step, LabelErrors) else step(records)
        except UserError as err:
            if asked_for:
                raise
            notes.append(f"{kind} was not asked: {err}")
            return []
        notes += [f"{kind}: {f.reason}" for f in found if f.row == WHOLE_SET]
        return [(f.row, Suspicion(kind, f.reason, f.score, f.suggestion)) for f in found if f.row != WHOLE_SET]
    told = list(failures_of(records, step))
    notes += [f"{kind}: {f.reason}" for row, f in told if row is None]
    return [(row, Suspicion(kind, f.reason)) for row, f in told if row is not None]


def _items(
    opened: Opened, by_place: dict[str, list[Suspicion]], label_of: dict[str, str], column: str
) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    """(place, body) of each suspected row in the order of the queue; and the value of each label as it stands in the file."""
    found: list[tuple[float, int, int, str, dict[str, Any]]] = []
    values: dict[str, Any] = {}
    for number, row in enumerate(opened.items):
        if not isinstance(row, RawRow):
            continue
        label = label_of.get(row.at)
        if column and label is not None:
            values.setdefault(label, plain(row.fields.get(column)))
        told = by_place.get(row.at)
        if told:
            findings = [{"check": s.check, "reason": s.reason, "score": s.score, "suggestion": s.suggestion} for s in told]
            body = {"fields": plain(row.fields), "label": label, "findings": findings}
            found.append((-max(s.score for s in told), -len(told), number, row.at, body))
    return [(at, body) for *_, at, body in sorted(found, key=lambda f: f[:3])], dict(sorted(values.items()))
