"""CSV by RFC 4180: a header row, quoted fields that may hold line ends, nothing padded and nothing cut.

One decision: a record is cut out of the stream by its own small parser, which knows at which row a quote was
opened, so an unclosed quote is reported there instead of swallowing the file as one giant row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from luthier.core.errors import UserError
from luthier.parts.sources.rows import WHOLE_FILE, BadRow, Change, Item, RawRow
from luthier.parts.sources.source import Source
from luthier.parts.sources.streams import Line, lines

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def read(source: Source, delimiter: str = ",") -> Iterator[Item]:
    """Rows of a CSV file; the place of a row is `row N`, the first after the header being 1."""
    records = _Records(source)
    header_line = records.first_line()
    delimiter, change = _sniff(header_line, records.second_line(), delimiter)
    if change:
        yield change
    stream = records.read(delimiter)
    names: list[str] = []
    for number, record in enumerate(stream):
        if not number:
            names, changes = _header(record, source.name)
            yield from changes
        else:
            yield _row(f"row {number}", record, names)


def _row(at: str, record: Record, names: list[str]) -> RawRow | BadRow:
    if record.fault:
        return BadRow(at, record.fault)
    if len(record.fields) != len(names):
        got = len(record.fields)
        return BadRow(at, f"{got} field{'s' if got != 1 else ''}, {len(names)} wanted (line {record.line})")
    joined = "".join(record.fields)
    if "\0" in joined:
        return BadRow(at, f"a NUL (byte 0) in column `{_column_with(chr(0), record, names)}` (line {record.line})")
    if not joined.isascii() and (bad := next((c for c in joined if "\udc80" <= c <= "\udcff"), "")):
        column = _column_with(bad, record, names)
        return BadRow(
            at,
            f"not valid UTF-8: byte 0x{ord(bad) - 0xDC00:02x} in column `{column}` (record at offset {record.offset:,}); convert the file",
        )
    return RawRow(at, dict(zip(names, record.fields, strict=True)))


def _column_with(char: str, record: Record, names: list[str]) -> str:
    return next(name for name, value in zip(names, record.fields, strict=True) if char in value)


def _header(record: Record, name: str) -> tuple[list[str], list[Change]]:
    if record.fault:
        raise UserError("the header row must be readable", record.fault, name)
    bad = next((c for c in "".join(record.fields) if c == "\0" or "\udc80" <= c <= "\udcff"), "")
    if bad:
        raise UserError("the header row must be UTF-8 text without NUL", f"byte 0x{ord(bad) & 0xFF:02x}", name)
    changes: list[Change] = []
    names = [field.strip() for field in record.fields]
    if names != record.fields:
        changes.append(
            Change("header", "white space removed around column names: " + ", ".join(repr(f) for f in record.fields) + f" read as {names}")
        )
    for i, found in enumerate(names):
        if not found:
            names[i] = f"column_{i + 1}"
            changes.append(Change("header", f"column {i + 1} has no name: called `column_{i + 1}`"))
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        places = [i + 1 for i, n in enumerate(names) if n == twice[0]]
        raise UserError("column names must differ", f"duplicate column `{twice[0]}` (columns {places})", name, "rename one of them")
    return names, changes


def _sniff(header: str, second: str, claimed: str) -> tuple[str, Change | None]:
    """The delimiter: the claimed one, unless it is absent and one other splits header and first row alike."""
    if claimed in header:
        return claimed, None
    for other, word in DELIMITERS.items():
        columns = header.count(other)
        if columns and (not second or _count_fields(second, other) == columns + 1):
            return other, Change(WHOLE_FILE, f"the delimiter is a {word}, not a {DELIMITERS[claimed]}: read so")
    return claimed, None


def _count_fields(line: str, delimiter: str) -> int:
    parser = _Parser(delimiter)
    return len(parser.fields) if parser.feed(line) else 0


@dataclass(slots=True)
class Record:
    """One record: its fields or its fault, and the line and offset where it begins."""

    line: int
    offset: int
    fields: list[str]
    fault: str = ""


class _Parser:
    """Parses one record, fed line by line until its quotes are closed."""

    def __init__(self, delimiter: str) -> None:
        self.fields: list[str] = []
        self.fault = ""
        self._delimiter = delimiter
        self._quoted: list[str] | None = None

    def feed(self, line: str) -> bool:
        """True when the record is complete (or at fault)."""
        if self._quoted is None and '"' not in line:
            self.fields.extend(line.removesuffix("\r").split(self._delimiter))
            return True
        pos = 0
        while True:
            if self._quoted is None and not line.startswith('"', pos):
                end = line.find(self._delimiter, pos)
                self.fields.append(line[pos:end] if end >= 0 else line[pos:].removesuffix("\r"))
                if end < 0:
                    return True
                pos = end + 1
                continue
            if self._quoted is None:
                self._quoted, pos = [], pos + 1
            else:
                self._quoted.append("\n")
            after = self._quoted_part(line, pos)
            if after < 0:
                return False
            if line[after:] in ("", "\r"):
                return True
            if line[after] != self._delimiter:
                self.fault = f"text after a closing quote in field {len(self.fields)}: quotes inside a quoted field must be doubled"
                return True
            pos = after + 1

    def _quoted_part(self, line: str, pos: int) -> int:
        """Take quoted text up to its closing quote; the position after it, or -1 when the line ends first."""
        assert self._quoted is not None
        while True:
            end = line.find('"', pos)
            if end < 0:
                self._quoted.append(line[pos:])
                return -1
            self._quoted.append(line[pos:end])
            if not line.startswith('"', end + 1):
                self.fields.append("".join(self._quoted))
                self._quoted = None
                return end + 1
            self._quoted.append('"')
            pos = end + 2


class _Records:
    """Records of one source; the first two lines can be looked at before the delimiter is known."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._limit = source.limits.max_row_bytes
        self._lines = lines(source.chunks, self._limit)
        self._seen: list[Line] = []
        for line in self._lines:
            self._seen.append(line)
            if len(self._filled()) == 2 or len(self._seen) == 64:
                break

    def _filled(self) -> list[str]:
        return [_text(line) for line in self._seen if line.data and line.data.strip()]

    def first_line(self) -> str:
        return next(iter(self._filled()), "")

    def second_line(self) -> str:
        return next(iter(self._filled()[1:]), "")

    def read(self, delimiter: str) -> Iterator[Record]:
        """Every record; blank lines between records are not rows."""
        parser: _Parser | None = None
        start, size, last = Line(1, 0, 0, b""), 0, 0
        for line in self._all():
            last = line.number
            if parser is None:
                if line.data is not None and not line.data.strip(b" \r"):
                    continue
                parser, start, size = _Parser(delimiter), line, 0
            size += line.length + 1
            if size > self._limit or line.data is None:
                if size <= line.length + 1:  # a single line, too long in itself: the next one begins a new record
                    yield Record(start.number, start.offset, [], f"the line is too long: {line.length:,} bytes (line {line.number})")
                    parser = None
                    continue
                raise UserError(
                    "a quoted field must be closed", f"a quote opened on line {start.number}, open for {size:,} bytes", self._source.name
                )
            if parser.feed(_text(line)):
                yield Record(start.number, start.offset, parser.fields, parser.fault)
                parser = None
        if parser is not None:
            yield Record(
                start.number,
                start.offset,
                [],
                f"the quote opened on line {start.number} is never closed: it swallows lines {start.number} to {last}",
            )

    def _all(self) -> Iterator[Line]:
        yield from self._seen
        self._seen = []
        yield from self._lines


def _text(line: Line) -> str:
    return (line.data or b"").decode("utf-8", "surrogateescape")
