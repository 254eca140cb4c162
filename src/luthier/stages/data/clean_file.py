"""`luthier data clean`: the same repairs and checks on a file, without a project; its columns stay what they were.

One decision: the input is only read. The texts that the mapping names are repaired in their columns, the repaired row is mapped
and judged as in a run, and a row with several conversations goes when one of them fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.core.errors import Interrupted, UserError
from luthier.core.events import Note, Observer, Progress, ignore
from luthier.core.records import Record
from luthier.parts.repairs.contract import Repair
from luthier.parts.sources.mapping import Mapping, shown_mapping
from luthier.parts.sources.mapping_base import PLAIN
from luthier.parts.sources.rows import BadRow, Change, Finding, Item, RawRow
from luthier.parts.sources.source import open_rows
from luthier.stages.data.check_rows import proposed
from luthier.stages.data.clean_output import Output
from luthier.stages.data.cleaning import CleanPlan, Edit, Failure, clean_record, judged_together, keeps_json
from luthier.stages.data.reading import FindingList, read_rows

STEP = "clean"
MOST = 1000
"""Edits and rows taken away that a document lists; `changes.jsonl` has all of them."""
_EVERY = 500
_NO_TEXT = frozenset(
    ("kind", "id", "group", "weight", "meta", "label", "labels", "target", "tokens", "tags", "tag_names", "separator", "tools", "tree_id")
)
_TEXT_KEYS = ("content", "value", "text")
_CALLS = ("tool_calls", "function_call", "tools")


@dataclass(frozen=True, slots=True)
class Gone:
    """A row that was taken away: its number in the file (from 0), its place, its fate, who says so, and why."""

    row: int
    at: str
    fate: str
    check: str
    reason: str


@dataclass
class FileCleaning:
    """What was done to one file. Edits and rows taken away are listed up to `MOST` and counted in full. notes: on reading it."""

    name: str
    format: str
    mapping: dict[str, Any]
    rows: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    edits: list[tuple[str, Edit]] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    findings: FindingList = field(default_factory=FindingList)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FileJob:
    """Where the cleaned rows go (None: nowhere), and who watches and may stop."""

    out: Path | None = None
    observer: Observer = ignore
    stop_flag: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class _Row:
    """One row on its way: number, place, columns before and after the repairs, edits, records, warnings."""

    number: int
    at: str
    before: dict[str, Any]
    after: dict[str, Any]
    edits: list[Edit]
    records: tuple[Record, ...] = ()


def clean_file(path: Path, mapping: Mapping | None, plan: CleanPlan, job: FileJob) -> FileCleaning:
    """Clean one data file; without `mapping` a proposed one is used. Raises UserError, and before anything is written where it can."""
    opened = open_rows(path, mapping=mapping)
    if opened.format == "manifest":
        raise UserError("a data file is wanted", "a list of files", path.name)
    mapping = mapping or proposed(path)
    done = FileCleaning(path.name, opened.format, shown_mapping(mapping))
    mender = _Mender(mapping, plan.repairs)
    with Output.at(job.out, path) as output:
        held: list[_Row] = []
        items = replace(opened, items=mender.mended(opened.items))
        for item in read_rows(items, mapping, path.name, PLAIN):
            if done.rows % _EVERY == 0:
                job.observer(Progress(STEP, opened.meter.done, opened.meter.total, "bytes"))
                if job.stop_flag():
                    raise Interrupted(f"stopped after {done.rows:,} rows; nothing was written")
            row = _judged(item, mender, plan, done, output)
            if row is not None and plan.together():
                held.append(row)
            elif row is not None:
                _keep(row, done, output)
        for row in _left(held, plan, done, output, job.observer):
            _keep(row, done, output)
        if not done.fates["kept"] + done.fates["changed"]:
            raise UserError("rows must be left after cleaning", f"none of {done.rows:,}", path.name, "loosen a check, or look at the file")
    return done


@dataclass
class _Mender:
    """Repairs the text columns of each row as it is read, and remembers the row that it has just given out."""

    mapping: Mapping
    repairs: tuple[Repair, ...]
    number: int = -1
    row: _Row | None = None

    def mended(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items with repaired rows."""
        columns = text_columns(self.mapping)
        for item in items:
            self.row = None
            if isinstance(item, (RawRow, BadRow)):
                self.number += 1
            if isinstance(item, RawRow):
                edits: list[Edit] = []
                after = {k: self._value(v, k, edits) if k in columns else v for k, v in item.fields.items()}
                self.row = _Row(self.number, item.at, item.fields, after, edits)
                yield RawRow(item.at, after)
            else:
                yield item

    def _value(self, value: Any, place: str, edits: list[Edit]) -> Any:
        """A column's value with the texts in it repaired: itself, in a list, or under `content`, `value` or `text`."""
        if isinstance(value, str):
            for repair in self.repairs:
                after = repair(value)
                if after != value and keeps_json(value, after):
                    edits.append(Edit(place, repair.kind, value, after))  # type: ignore[attr-defined]
                    value = after
            return value
        if isinstance(value, list):
            return [self._value(v, f"{place}.{i}", edits) for i, v in enumerate(value)]
        if isinstance(value, dict):
            texts = {k for k, v in value.items() if k in _TEXT_KEYS or (isinstance(v, (list, dict)) and k not in _CALLS)}
            return {k: self._value(v, f"{place}.{k}", edits) if k in texts else v for k, v in value.items()}
        return value


def text_columns(mapping: Mapping) -> frozenset[str]:
    """The columns that a mapping reads as texts; ids, labels, numbers, tags and tools are values."""
    out: set[str] = set()
    for name, value in mapping.model_dump(mode="json").items():
        if name not in _NO_TEXT:
            out.update([value] if isinstance(value, str) else [v for v in value if isinstance(v, str)] if isinstance(value, list) else [])
    return frozenset(out)


def _judged(item: Any, mender: _Mender, plan: CleanPlan, done: FileCleaning, output: Output) -> _Row | None:
    """The row that an item is, when it passes; what it is instead goes to `done`."""
    if isinstance(item, Finding):
        done.findings.add(item)
        return None
    if isinstance(item, Change):
        done.notes.append(item.reason)
        return None
    done.rows += 1
    row = mender.row
    if isinstance(item, BadRow) or row is None:
        reason = item.reason if isinstance(item, BadRow) else ""
        _take_away(row or _Row(mender.number, item.at, {}, {}, []), Failure("reading", reason, "set_aside"), done, output)
        return None
    row.records = item.records
    judging = plan.model_copy(update={"repairs": ()})
    for record in item.records:
        cleaned = clean_record(record, judging)
        for failure in cleaned.failures:
            done.findings.add(Finding(row.at, failure.reason, failure.check, failure.where))
        if cleaned.fate in ("set_aside", "dropped"):
            _take_away(row, cleaned.failures[-1], done, output)
            return None
    return row


def _left(held: list[_Row], plan: CleanPlan, done: FileCleaning, output: Output, observer: Observer) -> list[_Row]:
    """The rows that are left by the checks of all rows, one check after the other."""
    for step in plan.together() if held else ():
        observer(Note(f"checking {len(held):,} rows together: {step.kind}"))
        flat = [(i, record) for i, row in enumerate(held) for record in row.records]
        gone: dict[int, Failure] = {}
        for at, failure in judged_together([record for _, record in flat], step):
            done.findings.add(Finding("file" if at is None else held[flat[at][0]].at, failure.reason, failure.check))
            if at is not None and failure.fate != "warn":
                gone.setdefault(flat[at][0], failure)
        for i, failure in gone.items():
            _take_away(held[i], failure, done, output)
        held = [row for i, row in enumerate(held) if i not in gone]
    return held


def _keep(row: _Row, done: FileCleaning, output: Output) -> None:
    done.fates["changed" if row.edits else "kept"] += 1
    for edit in row.edits:
        done.repairs[edit.step] += 1
        if len(done.edits) < MOST:
            done.edits.append((row.at, edit))
        output.change(row.number, row.at, edit)
    output.row(row.after, row.at)


def _take_away(row: _Row, failure: Failure, done: FileCleaning, output: Output) -> None:
    fate = "dropped" if failure.fate == "drop" else "set_aside"
    done.fates[fate] += 1
    done.checks[failure.check] += 1
    gone = Gone(row.number, row.at, fate, failure.check, failure.reason)
    if len(done.gone) < MOST:
        done.gone.append(gone)
    output.removed(gone.row, gone.at, {"fate": fate, "check": gone.check, "reason": gone.reason, "fields": row.before})
