"""`luthier data pii`: where a file holds personal data, by kind, and a redacted copy of it.

One decision: this reads the columns of the file as they are, not records, so that a column which no mapping uses is looked at
too; a value is never shown, only its kind and place, and a copy is written aside and renamed when it is whole.
"""

from __future__ import annotations

import csv
import hmac
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from luthier.core.errors import UserError
from luthier.core.files import fsync_path, make_folder, writing
from luthier.parts.privacy.redact import Redactor, canonical, new_key
from luthier.parts.privacy.rule import Kind
from luthier.parts.sources.mapping import Mapping, check_columns
from luthier.parts.sources.rows import BadRow, RawRow
from luthier.parts.sources.source import open_rows

MAX_PLACES = 1000
FORMATS = (".jsonl", ".csv", ".tsv")
_SHORTEST_NUMBER = 9  # digits from which a whole number is read as text


@dataclass(slots=True)
class KindCount:
    """What was found of one kind. `places` are the first 1,000, as `line 7, text`."""

    values: int = 0
    rows: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class PiiReport:
    """What one file holds. `unreadable` rows are in no copy."""

    format: str
    rows: int = 0
    rows_with: int = 0
    unreadable: list[str] = field(default_factory=list)
    kinds: dict[Kind, KindCount] = field(default_factory=dict)


def scan_file(path: Path, redactor: Redactor, mapping: Mapping | None = None, copy: Path | None = None) -> PiiReport:
    """Look at every text (and long whole number) of every row, or of the columns that `mapping` uses; write a redacted copy.

    Raises UserError for a file that is no rows, a column that is not there, and a copy that exists or has no known format.
    """
    if copy is not None:
        _check_copy(path, copy)
    opened = open_rows(path, mapping=mapping)
    report, seal = PiiReport(opened.format), new_key()
    columns = set(mapping.used()) if mapping is not None else None

    def rows() -> Iterator[dict[str, Any]]:
        for item in opened.items:
            if isinstance(item, BadRow):
                report.unreadable.append(f"{item.at}: {redactor(item.reason).text}")
            elif isinstance(item, RawRow):
                if mapping is not None and not report.rows:
                    check_columns(mapping, item.fields, path.name)
                yield _row(item, _Looking(redactor, report, seal, columns))

    if copy is None:
        for _ in rows():
            pass
    else:
        _write(copy, rows())
    return report


@dataclass(slots=True)
class _Looking:
    """One pass over one row."""

    redactor: Redactor
    report: PiiReport
    seal: bytes
    columns: set[str] | None
    at: str = ""
    kinds: set[Kind] = field(default_factory=set)

    def walk(self, value: Any, where: str) -> Any:
        """The value with every text in it redacted."""
        if isinstance(value, dict):
            return {key: self.walk(inner, f"{where}.{key}") for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.walk(inner, f"{where}.{i}") for i, inner in enumerate(value)]
        number = isinstance(value, int) and not isinstance(value, bool) and len(str(value)) >= _SHORTEST_NUMBER
        if not isinstance(value, str) and not number:
            return value
        text = str(value)
        redacted = self.redactor(text)
        for one in redacted.replaced:
            self._count(one.kind, text[slice(*one.before)], where)
        return redacted.text if redacted.replaced else value

    def _count(self, kind: Kind, value: str, where: str) -> None:
        count = self.report.kinds.setdefault(kind, KindCount())
        count.values += 1
        count.rows += kind not in self.kinds
        self.kinds.add(kind)
        count.columns[where.split(".")[0]] += 1
        count.seen.add(hmac.digest(self.seal, canonical(kind, value).encode("utf-8", "surrogatepass"), "sha256")[:12])
        if len(count.places) < MAX_PLACES:
            count.places.append(f"{self.at}, {where}")


def _row(item: RawRow, looking: _Looking) -> dict[str, Any]:
    looking.at = item.at
    looking.report.rows += 1
    wanted = looking.columns
    fields = {k: v if wanted is not None and k not in wanted else looking.walk(v, k) for k, v in item.fields.items()}
    looking.report.rows_with += bool(looking.kinds)
    return fields


def _check_copy(path: Path, copy: Path) -> None:
    if copy.suffix.lower() not in FORMATS:
        raise UserError(f"a redacted copy is written as {', '.join(FORMATS)}", copy.name, "--redact")
    if copy.exists():
        same = copy.resolve() == path.resolve()
        raise UserError("a redacted copy must be a new file", f"{copy}, which {'is the input' if same else 'exists'}", "--redact")


def _write(copy: Path, rows: Iterator[dict[str, Any]]) -> None:
    """All rows into a file that has its name only when it is whole."""
    make_folder(copy.parent)
    aside = copy.with_name(f".{copy.name}.aside")
    try:
        with writing(aside), aside.open("w", encoding="utf-8", newline="") as f:
            write = _table(f, "\t" if copy.suffix.lower() == ".tsv" else ",") if copy.suffix.lower() != ".jsonl" else _lines(f)
            for row in rows:
                write(row)
            f.flush()
            os.fsync(f.fileno())
        aside.replace(copy)
        fsync_path(copy.parent)
    finally:
        aside.unlink(missing_ok=True)


def _lines(f: IO[str]) -> Callable[[dict[str, Any]], None]:
    def write(row: dict[str, Any]) -> None:
        f.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    return write


def _table(f: IO[str], delimiter: str) -> Callable[[dict[str, Any]], None]:
    """Rows of a table; the columns are those of the first row. Raises UserError for a row with others."""
    names: list[str] = []
    writer = csv.writer(f, delimiter=delimiter, lineterminator="\n")

    def write(row: dict[str, Any]) -> None:
        if not names:
            names.extend(row)
            writer.writerow(names)
        extra = [name for name in row if name not in names]
        if extra or any(isinstance(value, (dict, list)) for value in row.values()):
            raise UserError(
                "rows of one shape without nesting are wanted for a table", extra or "a nested value", "--redact", "name a .jsonl file"
            )
        writer.writerow(["" if row.get(name) is None else row[name] for name in names])

    return write
