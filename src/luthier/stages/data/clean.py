"""Clean: rows -> rows, repaired and judged by named checks, with every change kept as a diff and every fate in the ledger.

One decision: nothing is lost: `changes.jsonl` has each text before and after each repair, and the rows that were taken away lie
in `set_aside.jsonl` and `dropped.jsonl`. A row that says something else has a new id; the ledger and the diff name the old key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from luthier.core.artifacts import Dataset
from luthier.core.errors import UserError
from luthier.core.events import Note, Progress
from luthier.core.files import write_bytes, write_json, writing
from luthier.core.ledger import LedgerEntry, append_ledger, count_fates, entry_json, merge_ledgers, read_ledger
from luthier.core.records import Record, content_id, iterate_records, read_records, to_json, write_records
from luthier.core.stage import Built, Context, Stage
from luthier.parts.sources.rows import Finding
from luthier.stages.data.cleaning import Cleaned, CleanPlan, Failure, clean_record, judged_together
from luthier.stages.data.reading import FindingList

STEP = "clean"
CHANGES, LEDGER = "changes.jsonl", "ledger.jsonl"
REMOVED = {"set_aside": "set_aside.jsonl", "dropped": "dropped.jsonl"}
_EVERY = 500  # rows between two progress events


class Clean(Stage[Dataset]):
    """Clean `dataset` by `plan`."""

    dataset: Stage[Dataset]
    plan: CleanPlan = CleanPlan()

    def build(self, ctx: Context) -> Dataset:
        """Leaves `<role>.jsonl`, `changes.jsonl`, `set_aside.jsonl`, `dropped.jsonl`, `findings.json` and `ledger.jsonl`.

        Rows stream; they are held in memory only for a check of all rows together. Raises UserError when a file has no row left.
        """
        source = ctx.get(self.dataset)
        done = _Writing(ctx.dir, _numbers(source), held={} if self.plan.together() else None)
        before = source.path / LEDGER
        merge_ledgers(ctx.dir / LEDGER, [before] if before.exists() else [])
        with ExitStack() as stack:
            done.open(stack, list(source.result.files))
            self._each(source, done, ctx)
        if self.plan.together():
            self._together(source, done, ctx)
        return self._result(source, done, ctx)

    def _each(self, source: Built[Dataset], done: _Writing, ctx: Context) -> None:
        total = sum(source.result.counts.values())
        seen = 0
        for role, name in sorted(source.result.files.items()):
            for record in iterate_records(source.path / name):
                if seen % _EVERY == 0:
                    ctx.observer(Progress(STEP, seen, total, "rows"))
                    if ctx.stop_requested():
                        ctx.stop(f"cleaning rows ({seen:,} of {total:,}); this starts over")
                seen += 1
                done.take(role, record, clean_record(record, self.plan, source.result.answers))
        ctx.observer(Progress(STEP, total, total, "rows"))

    def _together(self, source: Built[Dataset], done: _Writing, ctx: Context) -> None:
        """The checks of all rows, one after the other, each on what the one before it has left; then the files anew."""
        placed = [(role, r) for role in sorted(source.result.files) for r in read_records(ctx.dir / f"{role}.jsonl")]
        for step in self.plan.together():
            if ctx.stop_requested():
                ctx.stop(f"before the check {step.kind}; cleaning starts over")
            ctx.observer(Note(f"checking {len(placed):,} rows together: {step.kind}"))
            gone: set[int] = set()
            for row, failure in judged_together([r for _, r in placed], step):
                if row is None:
                    done.find(Finding("file", failure.reason, failure.check))
                elif row not in gone and done.fail(placed[row], failure):
                    gone.add(row)
            placed = [p for i, p in enumerate(placed) if i not in gone]
        for role in source.result.files:
            write_records(ctx.dir / f"{role}.jsonl", (r for name, r in placed if name == role))
        append_ledger(ctx.dir / LEDGER, (done.held or {}).values())

    def _result(self, source: Built[Dataset], done: _Writing, ctx: Context) -> Dataset:
        empty = [role for role in source.result.files if not done.counts[role] and source.result.counts.get(role)]
        if empty:
            reasons = ", ".join(f"{n:,} x {r}" for r, n in done.reasons.most_common(3))
            fix = "loosen a check of data.clean, or set its fate to warn and look at the findings"
            raise UserError("rows must be left after cleaning", f"none of the {empty[0]} rows ({reasons})", "data.clean", fix)
        write_json(ctx.dir / "findings.json", [asdict(f) for f in done.findings.all()])
        ctx.observer(Note(done.sentence(), "warning" if done.fates["set_aside"] + done.fates["dropped"] else "info"))
        return source.result.model_copy(
            update={
                "files": {role: f"{role}.jsonl" for role in source.result.files},
                "counts": {role: done.counts[role] for role in source.result.files},
                "ledger": count_fates(read_ledger(ctx.dir / LEDGER)),
                "findings": source.result.findings + done.findings.counts.total(),
            }
        )


def _numbers(source: Built[Dataset]) -> Counter[str]:
    """How many rows have each id before cleaning, so that a row with a new id gets a key that nobody has."""
    paths = [source.path / name for name in source.result.files.values()]
    return Counter(record_id for path in paths for record_id in _ids(path))


def _ids(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as f:
        for line in f:
            yield json.loads(line).get("id", "")


@dataclass
class _Writing:
    """The open output of one build and what has been counted. held: the ledger's entries by key, until all checks have been asked."""

    folder: Path
    numbers: Counter[str]
    held: dict[str, LedgerEntry] | None
    counts: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    findings: FindingList = field(default_factory=FindingList)
    _files: dict[str, IO[str]] = field(default_factory=dict)

    def open(self, stack: ExitStack, roles: list[str]) -> None:
        """Open every file anew, the ledger to go on."""
        names = [f"{role}.jsonl" for role in roles]
        for name in (*names, CHANGES, LEDGER):
            path = self.folder / name
            stack.enter_context(writing(path))
            self._files[name] = stack.enter_context(path.open("a" if name == LEDGER else "w", encoding="utf-8", newline="\n"))
        for name in REMOVED.values():
            write_bytes(self.folder / name, b"")

    def take(self, role: str, before: Record, cleaned: Cleaned) -> None:
        """Write a row where its fate sends it, its edits, and its ledger entry."""
        record = self._renamed(before, cleaned)
        for edit in cleaned.edits:
            self.repairs[edit.step] += 1
            self._line(CHANGES, {"key": record.key, "was": before.key, "source": str(before.source), **asdict(edit)})
        for failure in cleaned.failures:
            self.findings.add(Finding(str(before.source), failure.reason, failure.check, failure.where))
        was = before.key if record.key != before.key else ""
        entry = LedgerEntry(record.key, record.id, str(record.source), STEP, cleaned.fate, cleaned.reason, was)
        self.fates[entry.fate] += 1
        if entry.fate in REMOVED:
            self._remove(record, entry, next(f for f in reversed(cleaned.failures) if f.fate != "warn"))
        else:
            self.counts[role] += 1
            self._line(f"{role}.jsonl", to_json(record))
        if self.held is None or entry.fate in REMOVED:
            self._line(LEDGER, entry_json(entry))
        else:
            self.held[entry.key] = entry

    def _renamed(self, before: Record, cleaned: Cleaned) -> Record:
        if not cleaned.edits:
            return before
        rid = content_id(cleaned.record)
        if rid == before.id:
            return cleaned.record
        self.numbers[rid] += 1
        number = self.numbers[rid]
        return replace(cleaned.record, id=rid, key=rid if number == 1 else f"{rid}-{number}")

    def fail(self, placed: tuple[str, Record], failure: Failure) -> bool:
        """Take a row that failed a check of all rows; True when it is gone."""
        role, record = placed
        assert self.held is not None
        self.findings.add(Finding(str(record.source), failure.reason, failure.check))
        entry = self.held[record.key]
        if failure.fate == "warn":
            words = f"found {failure.check}: {failure.reason}"
            self.held[record.key] = replace(entry, reason=f"{entry.reason}; {words}" if entry.reason else words)
            return False
        gone = Cleaned(record, (), (failure,)).fate
        reason = "; ".join(filter(None, (failure.reason, entry.reason)))
        self.fates[entry.fate] -= 1
        self.fates[gone] += 1
        self.counts[role] -= 1
        self.held[record.key] = replace(entry, fate=gone, reason=reason)
        self._remove(record, self.held[record.key], failure)
        return True

    def _remove(self, record: Record, entry: LedgerEntry, failure: Failure) -> None:
        self.reasons[failure.check] += 1
        path = self.folder / REMOVED[entry.fate]
        with writing(path), path.open("a", encoding="utf-8", newline="\n") as f:
            f.write(json.dumps(to_json(record), ensure_ascii=False) + "\n")

    def find(self, finding: Finding) -> None:
        """Something about the data set as a whole."""
        self.findings.add(finding)

    def _line(self, name: str, body: dict[str, Any]) -> None:
        with writing(self.folder / name):
            self._files[name].write(json.dumps(body, ensure_ascii=False) + "\n")

    def sentence(self) -> str:
        """What was done, in words."""
        parts = [f"{self.fates[fate]:,} {fate.replace('_', ' ')}" for fate in ("kept", "changed", "set_aside", "dropped")]
        by_repair = ", ".join(f"{step} {n:,}" for step, n in self.repairs.most_common())
        by_check = ", ".join(f"{check} {n:,}" for check, n in self.reasons.most_common())
        why = [f"texts repaired: {by_repair}"] * bool(by_repair) + [f"rows taken away: {by_check}"] * bool(by_check)
        return "; ".join(["cleaned rows: " + ", ".join(parts), *why])
