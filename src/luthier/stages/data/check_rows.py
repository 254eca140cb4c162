"""One data file judged row by row, through the same reading as a run.

One decision: a user's error is a `reject` with its one message, never an exception; without a mapping the
proposed one is used and shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.core.records import Record
from luthier.parts.sources import propose
from luthier.parts.sources.detect import claim_of
from luthier.parts.sources.mapping import Mapping, shown_mapping
from luthier.parts.sources.mapping_base import PLAIN, Asking
from luthier.parts.sources.rows import WHOLE_FILE, BadRow, Change, Finding, Limits
from luthier.parts.sources.source import Opened, open_rows
from luthier.stages.data.check_document import DataCheck, Found, Placed, VerdictWord
from luthier.stages.data.cleaning import failures_of
from luthier.stages.data.reading import FindingList, Inspector, ReadRow, read_rows
from luthier.stages.data.samples import MOST, as_read

MAX_PLACES = 10_000


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
    also: Sequence[Any] = ()
    held: list[Record] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    def put_aside(self, at: str, reason: str) -> None:
        self.num_aside += 1
        if self.num_aside <= MAX_PLACES:
            self.set_aside.append(Placed(at=at, reason=reason))

    def change(self, at: str, reason: str) -> None:
        if len(self.changes) < MAX_PLACES:
            self.changes.append(Placed(at=at, reason=reason))


def check_rows(
    path: Path,
    mapping: Mapping | None = None,
    asking: Asking = PLAIN,
    strict: bool = False,
    limits: Limits | None = None,
    also: Sequence[Any] = (),
) -> DataCheck:
    """Judge one data file; `also`: checks beside the standing ones, for which the rows are held in memory.

    Only a fault of the machine (a library missing, the disk) is raised.
    """
    tally = _Tally(also=also)
    try:
        opened = open_rows(path, limits, mapping)
        if opened.format == "manifest":
            raise UserError("rows of data are wanted", "a list of files", path.name)
        if mapping is None:
            mapping = proposed(path, limits, tally)
        take_rows(opened, mapping, path.name, asking, tally)
    except UserError as err:
        return rejected(path, str(err), tally, mapping)
    return _document(opened.format, mapping, tally, strict)


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
            tally.held += item.records if tally.also else ()
            for record in item.records:
                reasons = list(tally.inspector.look(record, item.at))
                for found in reasons:
                    tally.findings.add(found)
                if not reasons and len(tally.samples) < MOST:  # a row with personal data or a secret is never shown
                    tally.samples.append(as_read(record, item.at))
        elif isinstance(item, BadRow):
            tally.rows += 1
            tally.put_aside(item.at, item.reason)
        elif isinstance(item, Change):
            tally.change(item.at, item.reason)
        else:
            tally.findings.add(item)
    for found in tally.inspector.finish():
        tally.findings.add(found)
    for step in tally.also:
        for row, failure in failures_of(tally.held, step):
            at = WHOLE_FILE if row is None else tally.held[row].source.at
            tally.findings.add(Finding(at, failure.reason, failure.check, failure.where))


def _document(format_: str, mapping: Mapping | None, tally: _Tally, strict: bool) -> DataCheck:
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
        format=format_,
        mapping=shown_mapping(mapping) if mapping else None,
        samples=tuple(tally.samples),
        rows=tally.rows,
        kept=0 if rejected else tally.kept,
        set_aside=tuple(tally.set_aside),
        changes=tuple(tally.changes),
        findings=tuple(findings),
    )


def rejected(path: Path, reason: str, tally: _Tally | None = None, mapping: Mapping | None = None) -> DataCheck:
    """A reject with one clear message that names the file, and the places seen before it."""
    tally, claim = tally or _Tally(), claim_of(path.name)
    plain = Path(path.name[: -len(claim.compression) - 1]) if claim.compression else path
    format_ = ".".join(filter(None, (claim.format or plain.suffix.lstrip("."), claim.compression))) or "unknown"
    message = reason if path.name in reason else f"{path.name}: {reason}"
    return DataCheck(
        verdict="reject",
        format=format_,
        mapping=shown_mapping(mapping) if mapping else None,
        rows=tally.rows,
        kept=0,
        set_aside=tuple(tally.set_aside),
        changes=tuple(tally.changes),
        findings=(Found(at="file", reason=message, check="reading"),),
    )
