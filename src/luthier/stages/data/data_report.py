"""`luthier data report`: everything about one file that a person wants to see before training on it.

One decision: it reads the file once, as a run would, and does nothing to it; the ledger that it draws is what the standard
repairs and the search for copies would do, so that the picture and the commands beside it agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Counts
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.core.records import Record
from luthier.parts.checks.contract import texts_of
from luthier.parts.checks.language import language_of
from luthier.parts.checks.near_duplicates import NearDuplicates
from luthier.parts.privacy.redact import Redactor, new_key
from luthier.parts.sources.mapping import Mapping, shown_mapping
from luthier.parts.sources.mapping_base import PLAIN
from luthier.parts.sources.rows import WHOLE_FILE, BadRow, Change, Finding
from luthier.parts.sources.source import open_rows
from luthier.report.data_model import DataColumn, DataCopies, DataFinding, DataReport
from luthier.report.sections import Bin, LedgerStep, Reason
from luthier.stages.data.check_rows import proposed
from luthier.stages.data.cleaning import CleanPlan, clean_record
from luthier.stages.data.compare_rows import columns_of, described, label_counts
from luthier.stages.data.duplicates import words_of
from luthier.stages.data.fixes import fix_for
from luthier.stages.data.lengths import histogram
from luthier.stages.data.reading import FindingList, Inspector, ReadRow, read_rows

Say = Callable[[str, int, int], None]
PLACES, CLUSTERS, BEGINNING = 5, 10, 200
MOST_JUDGED = 5000
"""Rows whose language is told; of a larger file every n-th."""
_EVERY = 500
UNTOLD = "?"
_MOSTLY = 0.5  # the commonest language is the file's own when it has at least this share


@dataclass
class _Seen:
    """What has been read of the file."""

    records: list[Record] = field(default_factory=list)
    findings: FindingList = field(default_factory=FindingList)
    aside: Counter[str] = field(default_factory=Counter)
    changed: int = 0


def report_file(path: Path, typed: str, mapping: tuple[Mapping, str] | None, say: Say) -> DataReport:
    """Look at one data file. typed: its name as the user gave it, for the commands; mapping: with its words of `--map`.

    Raises UserError for a file that cannot be read or has no rows, and MachineError where a library is missing.
    """
    used = mapping[0] if mapping else proposed(path)
    opened = open_rows(path, mapping=used)
    if opened.format == "manifest":
        raise UserError("a data file is wanted", "a list of files", path.name)
    seen = _read(opened, used, path.name, say)
    if not seen.records:
        raise UserError("the file must hold rows", f"none that can be read, {seen.aside.total():,} set aside", path.name)
    left, repairs = _repaired(seen.records)
    copies = _copies(left, say)
    languages = _languages(seen.records, say)
    if copies.kinds:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in copies.kinds.items())
        seen.findings.add(Finding("file", f"rows that repeat others: {kinds}", "near_duplicates"))
    _judge_languages(languages, seen.findings)
    words = mapping[1] if mapping else None
    return DataReport(
        file=path.name,
        format=opened.format,
        mapping=shown_mapping(used),
        num_rows=len(seen.records) + seen.aside.total(),
        ledger=(_reading(seen), repairs, _distinct(left, copies)),
        findings=tuple(_findings(seen.findings, typed, words)),
        lengths=tuple(_column(name, sizes) for name, sizes in columns_of(seen.records).items()),
        languages=dict(languages.most_common()),
        num_judged=languages.total(),
        labels=label_counts(seen.records),
        copies=copies,
    )


def _read(opened: Any, mapping: Mapping, name: str, say: Say) -> _Seen:
    seen, inspector = _Seen(), Inspector()
    for i, item in enumerate(read_rows(opened, mapping, name, PLAIN)):
        if i % _EVERY == 0:
            say("reading", opened.meter.done, opened.meter.total)
        if isinstance(item, ReadRow):
            seen.changed += bool(item.changes) * len(item.records)
            for record in item.records:
                seen.records.append(record)
                for found in inspector.look(record, item.at):
                    seen.findings.add(found)
        elif isinstance(item, BadRow):
            seen.aside[item.reason.partition(" (")[0]] += 1
            seen.findings.add(Finding(item.at, item.reason))
        elif not isinstance(item, Change):
            seen.findings.add(item)
    for found in inspector.finish():
        seen.findings.add(found)
    return seen


def _reading(seen: _Seen) -> LedgerStep:
    kept = len(seen.records) - seen.changed
    return LedgerStep(
        step="reading", kept=kept, changed=seen.changed, set_aside=seen.aside.total(), reasons=_reasons("set aside", seen.aside)
    )


def _repaired(records: Sequence[Record]) -> tuple[list[Record], LedgerStep]:
    """The rows as the standard repairs would leave them, and the step."""
    plan, changed, left = CleanPlan(), 0, []
    repairs, emptied = Counter[str](), Counter[str]()
    for record in records:
        done = clean_record(record, plan)
        if done.failures:
            emptied[done.failures[-1].reason] += 1
            continue
        left.append(done.record)
        changed += bool(done.edits)
        repairs.update({edit.step for edit in done.edits})
    reasons = (*_reasons("changed", repairs), *_reasons("set aside", emptied))
    return left, LedgerStep(step="repairs", kept=len(left) - changed, changed=changed, set_aside=emptied.total(), reasons=reasons)


def _reasons(fate: Any, counts: Counts[str, int]) -> tuple[Reason, ...]:
    return tuple(Reason(fate=fate, reason=reason, num_rows=n) for reason, n in Counter(counts).most_common(PLACES))


def _copies(records: Sequence[Record], say: Say) -> DataCopies:
    clusters = NearDuplicates().clusters(records, say) if records else []
    mask = Redactor(new_key())
    largest = tuple((c.size, mask(words_of(records[c.kept[0]])).text[:BEGINNING]) for c in clusters[:CLUSTERS])
    sizes = Counter(c.size for c in clusters)
    kinds = Counter(copy.kind for c in clusters for copy in c.copies)
    return DataCopies(kinds=dict(kinds), sizes=dict(sorted(sizes.items())), largest=largest)


def _distinct(left: Sequence[Record], copies: DataCopies) -> LedgerStep:
    gone = sum(copies.kinds.values())
    return LedgerStep(step="copies", kept=len(left) - gone, dropped=gone, reasons=_reasons("dropped", copies.kinds))


def _languages(records: Sequence[Record], say: Say) -> Counter[str]:
    """Rows by language; of more than `MOST_JUDGED` every n-th is judged."""
    out, step = Counter[str](), -(-len(records) // MOST_JUDGED) or 1
    judged = records[::step]
    for i, record in enumerate(judged):
        if i % _EVERY == 0:
            say("languages", i, len(judged))
        texts = [text for _, text in texts_of(record)]
        out[language_of("\n".join(texts[:-1] if getattr(record, "label", None) is not None else texts)) or UNTOLD] += 1
    return out


def _judge_languages(languages: Counter[str], findings: FindingList) -> None:
    """A finding when rows are in another language than the one that most rows are in."""
    told = Counter({name: n for name, n in languages.items() if name != UNTOLD})
    if len(told) < 2 or told.most_common(1)[0][1] < _MOSTLY * told.total():
        return
    main = told.most_common(1)[0][0]
    others = ", ".join(f"{n:,} {name}" for name, n in told.most_common()[1:6])
    findings.add(Finding("file", f"most rows are in {main}, some seem to be in others: {others}", f"language:languages={main}"))


def _findings(found: FindingList, typed: str, mapping: str | None) -> Iterator[DataFinding]:
    for check, num in found.counts.most_common():
        if check == "duplicates" and "near_duplicates" in found.counts:
            continue  # the same rows, told once
        places = tuple((f.at, f.reason) for f in found.shown if f.check == check)[:PLACES]
        whole = all(at == WHOLE_FILE for at, _ in places)
        yield DataFinding(check=check.partition(":")[0], num=0 if whole else num, places=places, fix=fix_for(check, typed, mapping))


def _column(name: str, sizes: Sequence[int]) -> DataColumn:
    figures = described(sorted(sizes))
    bins = tuple(Bin(**b) for b in histogram(sizes))
    return DataColumn(name=name, mean=figures.pop("mean"), percentiles=figures, histogram=bins)
