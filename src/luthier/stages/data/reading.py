"""From an open file to records: every row converted or set aside, every record looked at by the checks.

One decision: `data check` and a run read through this one path, so what the check says about a file is what
a run does with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from luthier.core.records import Record
from luthier.parts.checks.contract import CorpusCheck, RecordCheck, TextCheck, facts_of, texts_of
from luthier.parts.checks.discover import standing_checks
from luthier.parts.checks.facts import FactStore
from luthier.parts.sources.mapping import Mapping, check_columns, convert
from luthier.parts.sources.mapping_base import Asking
from luthier.parts.sources.rows import BadRow, Change, Finding, RawRow
from luthier.parts.sources.source import Opened

TABULAR = ("csv", "tsv", "parquet", "arrow", "text")
MAX_FINDINGS = 1000


@dataclass(frozen=True, slots=True)
class ReadRow:
    """One good row: its place, its records, and the safe changes made to it."""

    at: str
    records: tuple[Record, ...]
    changes: tuple[str, ...]


def read_rows(opened: Opened, mapping: Mapping, name: str, asking: Asking) -> Iterator[ReadRow | BadRow | Change | Finding]:
    """Every row of a file in order. Raises UserError when a mapped column or a placeholder is in no row."""
    columns: set[str] = set()
    tabular = opened.format.split(".")[0] in TABULAR
    yield from opened.changes
    for item in opened.items:
        if not isinstance(item, RawRow):
            yield item
            continue
        if not columns:
            columns.update(item.fields)
            if tabular:
                check_columns(mapping, columns, name)
                _check_template(asking, columns, mapping)
        elif not tabular:
            columns.update(item.fields)
        converted = convert(item, mapping, name, asking)
        yield converted if isinstance(converted, BadRow) else ReadRow(item.at, converted.records, converted.changes)
    if columns and not tabular:
        check_columns(mapping, columns, name)
        _check_template(asking, columns, mapping)


def _check_template(asking: Asking, columns: set[str], mapping: Mapping) -> None:
    if asking.template is not None:
        extra = ["text"] if mapping.kind == "entities" else []
        asking.template.check_columns([*sorted(columns), *extra])


@dataclass(slots=True)
class Inspector:
    """Runs every standing check of `parts/checks` over the records of a data set, one row at a time."""

    facts: FactStore = field(default_factory=FactStore)
    _texts: dict[str, TextCheck] = field(default_factory=lambda: standing_checks(TextCheck))
    _records: dict[str, RecordCheck] = field(default_factory=lambda: standing_checks(RecordCheck))
    _corpus: dict[str, CorpusCheck] = field(default_factory=lambda: standing_checks(CorpusCheck))

    def look(self, record: Record, at: str) -> Iterator[Finding]:
        """Findings of one record; its facts are kept for `finish`."""
        self.facts.append(facts_of(record, at))
        for where, text in texts_of(record):
            for name, check in self._texts.items():
                verdict = check(text)
                if not verdict.passed:
                    yield Finding(at, verdict.reason, name, where)
        for name, check in self._records.items():
            verdict = check(record)
            if not verdict.passed:
                yield Finding(at, verdict.reason, name)

    def finish(self) -> Iterator[Finding]:
        """Findings about all rows together."""
        for name, check in self._corpus.items():
            for found in check(self.facts):
                yield Finding(found.at, found.reason, name, found.where)


@dataclass(slots=True)
class FindingList:
    """Findings, at most `MAX_FINDINGS` of one check in full; the rest are counted, never lost."""

    shown: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, found: Finding) -> None:
        """Take one finding."""
        self.counts[found.check] += 1
        if self.counts[found.check] <= MAX_FINDINGS:
            self.shown.append(found)

    def all(self) -> list[Finding]:
        """The findings, and one summary for each check that had more."""
        more = [
            Finding("file", f"and {n - MAX_FINDINGS:,} more findings of `{check}`", check)
            for check, n in self.counts.items()
            if n > MAX_FINDINGS
        ]
        return [*self.shown, *more]
