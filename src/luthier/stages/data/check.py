"""`luthier data check`: one document that judges a file, or a folder with train and test files.

One decision: the worst thing found fixes the verdict (reject, quarantine, warn, repair, accept), and the
verdict fixes the exit code; nothing is written and nothing that could run code is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic

from luthier.core.errors import UserError
from luthier.parts.sources import propose
from luthier.parts.sources.detect import claim_of
from luthier.parts.sources.mapping import Mapping, shown_mapping
from luthier.parts.sources.mapping_base import PLAIN, Asking
from luthier.parts.sources.rows import BadRow, Change, Limits, RawRow
from luthier.parts.sources.source import Opened, open_rows
from luthier.stages.data.reading import FindingList, Inspector, ReadRow, read_rows

VerdictWord = Literal["accept", "repair", "warn", "quarantine", "reject"]
EXIT_CODES: tuple[tuple[VerdictWord, int], ...] = (("accept", 0), ("repair", 0), ("warn", 0), ("quarantine", 1), ("reject", 2))
MAX_PLACES = 10_000
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Placed(_Document):
    """Something at a place: `line 7`, `row 7`, `header`, `file`, or `test.jsonl line 7` in a folder."""

    at: str
    reason: str


class Found(Placed):
    """A finding: `check` says who found it, `where` in which part of the row."""

    check: str
    where: str = ""


class DataCheck(_Document):
    """The answer of `data check`, and its `--json` document."""

    kind: Literal["data_check"] = "data_check"
    version: Literal[1] = 1
    verdict: VerdictWord
    file: str
    format: str
    mapping: dict[str, Any] | None
    rows: int
    kept: int
    set_aside: tuple[Placed, ...] = ()
    changes: tuple[Placed, ...] = ()
    findings: tuple[Found, ...] = ()

    def lines(self) -> list[str]:
        """The document for people, a line each."""
        head = f"{self.file}: {self.verdict} ({self.format}, {self.kept:,} of {self.rows:,} rows kept)"
        mapping = [f"  mapping: {self.mapping}"] if self.mapping else []
        parts: tuple[tuple[str, Sequence[Placed]], ...] = (
            ("set aside", self.set_aside),
            ("changed", self.changes),
            ("found", self.findings),
        )
        return [head, *mapping, *(f"  {word}: {p.at}: {p.reason}" for word, places in parts for p in places)]


def exit_code(verdict: VerdictWord) -> int:
    """0 for accept, repair and warn, 1 for quarantine, 2 for reject."""
    return dict(EXIT_CODES)[verdict]


@dataclass(slots=True)
class _Tally:
    """What has been seen of one file so far."""

    rows: int = 0
    kept: int = 0
    num_aside: int = 0
    set_aside: list[Placed] = field(default_factory=list)
    changes: list[Placed] = field(default_factory=list)
    findings: FindingList = field(default_factory=FindingList)
    inspector: Inspector = field(default_factory=Inspector)

    def put_aside(self, at: str, reason: str) -> None:
        self.num_aside += 1
        if self.num_aside <= MAX_PLACES:
            self.set_aside.append(Placed(at=at, reason=reason))

    def change(self, at: str, reason: str) -> None:
        if len(self.changes) < MAX_PLACES:
            self.changes.append(Placed(at=at, reason=reason))


def check_file(
    path: Path, mapping: Mapping | None = None, asking: Asking = PLAIN, strict: bool = False, limits: Limits | None = None
) -> DataCheck:
    """Judge one file or folder; without `mapping` a proposed one is used and shown. `strict` rejects what has bad rows.

    User errors become a `reject`; only a fault of the machine (a library missing, the disk) is raised.
    """
    if path.is_dir() and not claim_of(path.name).format:
        from luthier.stages.data.check_folder import check_folder

        return check_folder(path, mapping, asking)
    if path.suffix.lower() in WEIGHTS and path.is_file():
        return _check_weights(path)
    tally = _Tally()
    try:
        opened = open_rows(path, limits)
        if opened.format == "manifest":
            return _check_manifest(path, opened, mapping, asking)
        if mapping is None:
            mapping = proposed(path, limits, tally)
        take_rows(opened, mapping, path.name, asking, tally)
    except UserError as err:
        return _rejected(path, tally, mapping, str(err))
    return _document(path.name, opened.format, mapping, tally, strict)


def proposed(path: Path, limits: Limits | None = None, tally: _Tally | None = None) -> Mapping:
    """The mapping that the first rows leave no doubt about. Raises UserError with what to paste otherwise.

    When no row can be read at all, the places and reasons go to `tally`.
    """
    columns, rows = propose.sample_of(open_rows(path, limits).items)
    if rows:
        return propose.require(propose.propose(columns, rows), path.name)
    tally = tally or _Tally()
    for item in open_rows(path, limits).items:
        if isinstance(item, BadRow):
            tally.rows += 1
            tally.put_aside(item.at, item.reason)
    got = f"no rows: all {tally.rows:,} are unreadable, {tally.set_aside[0].at}: {tally.set_aside[0].reason}" if tally.rows else "no rows"
    raise UserError("the file must hold rows", got, path.name)


def take_rows(opened: Opened, mapping: Mapping, name: str, asking: Asking, tally: _Tally) -> None:
    """Read every row of one file into the tally. Raises UserError."""
    for item in read_rows(opened, mapping, name, asking):
        if isinstance(item, ReadRow):
            tally.rows += 1
            tally.kept += 1
            for reason in item.changes:
                tally.change(item.at, reason)
            for record in item.records:
                for found in tally.inspector.look(record, item.at):
                    tally.findings.add(found)
        elif isinstance(item, BadRow):
            tally.rows += 1
            tally.put_aside(item.at, item.reason)
        elif isinstance(item, Change):
            tally.change(item.at, item.reason)
        else:
            tally.findings.add(item)
    for found in tally.inspector.finish():
        tally.findings.add(found)


def _document(name: str, format_: str, mapping: Mapping | None, tally: _Tally, strict: bool) -> DataCheck:
    findings = [Found(at=f.at, reason=f.reason, check=f.check, where=f.where) for f in tally.findings.all()]
    if not tally.kept:
        why = f"all {tally.rows:,} rows were set aside" if tally.rows else "no rows: there is a header and nothing below it"
        findings.insert(0, Found(at="file", reason=why, check="reading"))
    elif strict and tally.num_aside:
        findings.insert(0, Found(at="file", reason=f"strict: {tally.num_aside:,} bad rows, none are allowed", check="reading"))
    if tally.num_aside > MAX_PLACES:
        findings.append(Found(at="file", reason=f"and {tally.num_aside - MAX_PLACES:,} more rows were set aside", check="reading"))
    rejected = not tally.kept or (strict and tally.num_aside > 0)
    verdict: VerdictWord = (
        "reject" if rejected else "quarantine" if tally.num_aside else "warn" if findings else "repair" if tally.changes else "accept"
    )
    return DataCheck(
        verdict=verdict,
        file=name,
        format=format_,
        mapping=shown_mapping(mapping) if mapping else None,
        rows=tally.rows,
        kept=0 if rejected else tally.kept,
        set_aside=tuple(tally.set_aside),
        changes=tuple(tally.changes),
        findings=tuple(findings),
    )


def _rejected(path: Path, tally: _Tally, mapping: Mapping | None, reason: str) -> DataCheck:
    """A reject with one clear message that names the file, and the places seen before it."""
    claim = claim_of(path.name)
    format_ = ".".join(filter(None, (claim.format or path.suffix.lstrip("."), claim.compression))) or "unknown"
    message = reason if path.name in reason else f"{path.name}: {reason}"
    return DataCheck(
        verdict="reject",
        file=path.name,
        format=format_,
        mapping=shown_mapping(mapping) if mapping else None,
        rows=tally.rows,
        kept=0,
        set_aside=tuple(tally.set_aside),
        changes=tuple(tally.changes),
        findings=(Found(at="file", reason=message, check="reading"),),
    )


def _check_weights(path: Path) -> DataCheck:
    """Weights are judged by their header and values; a pickle is never opened."""
    from luthier.engine.models.safety import check_weights_file

    problems = check_weights_file(path)
    empty = path.stat().st_size == 0
    words = (("cut off", "truncated"), ("pickle", "unsafe pickle"), ("NaN", "not finite"))
    findings: list[Found] = []
    for problem in problems:
        word = "empty file" if empty else next((w for mark, w in words if mark in problem.reason), "")
        findings.append(
            Found(at="file", reason=f"{path.name}: {word}{': ' if word else ''}{problem.reason}", check="weights", where=problem.where)
        )
    rejected = any(p.verdict == "reject" for p in problems)
    verdict: VerdictWord = "reject" if rejected else "warn" if problems else "accept"
    kind = "safetensors" if path.suffix.lower() == ".safetensors" else "pickle"
    return DataCheck(verdict=verdict, file=path.name, format=kind, mapping=None, rows=0, kept=0, findings=tuple(findings))


def _check_manifest(path: Path, opened: Opened, mapping: Mapping | None, asking: Asking) -> DataCheck:
    """A list of files: refused as a whole when an entry is outside its folder; else each file is judged."""
    entries = list(opened.items)
    bad = [Placed(at=e.at, reason=e.reason) for e in entries if isinstance(e, BadRow)]
    if bad:
        reason = f"{path.name}: {len(bad)} of {len(entries)} listed files are outside the data folder; none was opened"
        found = (Found(at="file", reason=reason, check="reading"),)
        return DataCheck(
            verdict="reject",
            file=path.name,
            format="manifest",
            mapping=None,
            rows=len(entries),
            kept=0,
            set_aside=tuple(bad),
            findings=found,
        )
    checks = [check_file(Path(e.fields["path"]), mapping, asking) for e in entries if isinstance(e, RawRow)]
    return together(path.name, "manifest", checks)


def together(name: str, format_: str, checks: Sequence[DataCheck]) -> DataCheck:
    """Several files' documents as one: places carry the file's name, the worst verdict counts."""
    order = [word for word, _ in EXIT_CODES]
    words: list[VerdictWord] = [c.verdict for c in checks] or ["reject"]
    worst = max(words, key=order.index)
    none = (Found(at="file", reason=f"{name}: no data files", check="reading"),) if not checks else ()
    return DataCheck(
        verdict=worst,
        file=name,
        format=format_,
        mapping=checks[0].mapping if checks else None,
        rows=sum(c.rows for c in checks),
        kept=0 if worst == "reject" else sum(c.kept for c in checks),
        set_aside=tuple(p.model_copy(update={"at": f"{c.file} {p.at}"}) for c in checks for p in c.set_aside),
        changes=tuple(p.model_copy(update={"at": f"{c.file} {p.at}"}) for c in checks for p in c.changes),
        findings=none + tuple(p.model_copy(update={"at": f"{c.file} {p.at}"}) for c in checks for p in c.findings),
    )
