"""luthier data why: the story of one row, from the place where it stood to the answers that were given to it.

One decision: everything is read from the artifacts' own files, so the story is what was done and never what would be done now;
a row that was repaired is followed from its old key to its new one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.core.ledger import LedgerEntry, read_ledger
from luthier.core.record import verify
from luthier.pipeline.data_versions import folder_of_key, read_json_lines
from luthier.pipeline.workspace import Workspace

ROLES = ("rows", "clean", "split", "prepared", "planted", "baseline", "tuned")
MOST = 20
_PLACE = re.compile(r"(?P<file>.+?)(?::| (?:line|row) )(?P<number>\d+)")
_LEAST_PREFIX = 6


@dataclass(frozen=True)
class Story:
    """One row: where it stood, what each step decided, the texts that were changed, what checks said, and the models' answers."""

    source: str
    keys: tuple[str, ...]
    steps: tuple[LedgerEntry, ...]
    changes: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    answers: tuple[dict[str, Any], ...]


def folders_of(workspace: Workspace, run: str | None) -> dict[str, Path]:
    """The finished artifacts by role: of the project as it is now, or of a run. Raises UserError when none is built."""
    if run is not None:
        links = workspace.database.links(workspace.database.find_run(run)["number"])
        found = {role: folder_of_key(workspace, links[role]) for role in ROLES if role in links}
    else:
        stages = workspace.graph.roles()
        found = {r: workspace.store.folder_of(stages[r]) for r in ROLES if r in stages and workspace.store.is_built(stages[r])}
    if not found:
        fix = "build the data with `luthier data show`, or name a run with --run"
        raise UserError("the data of the project must have been read", "nothing is built yet", fix=fix)
    for folder in found.values():
        verify(folder)
    return found


def stories_of(folders: dict[str, Path], row: str) -> list[Story]:
    """The stories of the rows that `row` names: a key, an id (or its beginning), or a place (`rows.csv:7`). Raises UserError for none."""
    ledger = next(folders[r] / "ledger.jsonl" for r in ("planted", "prepared", "split", "clean", "rows") if r in folders)
    entries = list(read_ledger(ledger))
    by_source: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        by_source.setdefault(entry.source, []).append(entry)
    named = [e for e in entries if row and row in (e.key, e.id, e.was)] or _by_place(entries, row) or _by_beginning(entries, row)
    if not named:
        fix = "give a key, an id, or a place such as " + (f"`{_shown(entries[0].source)}`" if entries else "`rows.csv:7`")
        raise UserError("a row of this data is wanted", repr(row), fix=fix)
    chains: dict[tuple[str, ...], list[LedgerEntry]] = {}
    for entry in named:
        keys = _chain(by_source[entry.source], entry)
        chains.setdefault((entry.source, *keys), [e for e in by_source[entry.source] if e.key in keys or e.was in keys])
    return [_story(folders, names[0], names[1:], steps) for names, steps in list(chains.items())[:MOST]]


def _shown(source: str) -> str:
    return re.sub(r" (?:line|row) (\d+)$", r":\1", source)


def _by_place(entries: Sequence[LedgerEntry], row: str) -> list[LedgerEntry]:
    place = _PLACE.fullmatch(row)
    if place is None:
        return []
    wanted = {f"{place['file']} {word} {place['number']}" for word in ("line", "row")}
    names = wanted | {w.rpartition("/")[2] for w in wanted}
    return [e for e in entries if e.source in names]


def _by_beginning(entries: Sequence[LedgerEntry], row: str) -> list[LedgerEntry]:
    return [e for e in entries if e.key.startswith(row)] if len(row) >= _LEAST_PREFIX else []


def _chain(entries: Sequence[LedgerEntry], start: LedgerEntry) -> tuple[str, ...]:
    """Every key that the row of `start` has had, in order; one source may have given several rows."""
    keys = {start.key, start.was} - {""}
    for _ in entries:
        keys |= {k for e in entries if {e.key, e.was} & keys for k in (e.key, e.was) if k}
    return tuple(dict.fromkeys([k for e in entries for k in (e.was, e.key) if k in keys])) or ("",)


def _story(folders: dict[str, Path], source: str, keys: tuple[str, ...], steps: Sequence[LedgerEntry]) -> Story:
    changes = [c for c in read_json_lines(folders["clean"] / "changes.jsonl") if c["key"] in keys] if "clean" in folders else []
    return Story(source, keys, tuple(steps), tuple(changes), tuple(_findings(folders, source)), tuple(_answers(folders, keys)))


def _findings(folders: dict[str, Path], source: str) -> Iterator[dict[str, Any]]:
    for role in ("rows", "clean"):
        path = folders[role] / "findings.json" if role in folders else None
        if path is not None and path.is_file():
            for found in json.loads(path.read_text(encoding="utf-8")):
                if found["at"] == source:
                    yield {"step": "ingest" if role == "rows" else role, **found}


def _answers(folders: dict[str, Path], keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The answers of the base and of the tuned model, for a row of the test split that both have been shown."""
    for role in ("baseline", "tuned"):
        if {"baseline", "tuned"} <= set(folders):
            for line in read_json_lines(folders[role] / "predictions.jsonl"):
                if line["key"] in keys:
                    yield {"model": role, "output": line["output"], "reference": line["reference"], "scores": line["scores"]}
