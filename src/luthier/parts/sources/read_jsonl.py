"""JSON lines: one object a physical line, split at LF only.

One decision: a bad line costs that line and no other; its place is the physical line number, blank lines
counted, and what is wrong with it is said with the column or the byte.
"""

from __future__ import annotations

from collections.abc import Iterator

from luthier.parts.sources.rows import BadRow, Item, RawRow
from luthier.parts.sources.source import Source
from luthier.parts.sources.streams import Line, lines
from luthier.parts.sources.strict_json import BadJson, parse_json


def read(source: Source) -> Iterator[Item]:
    """Rows of a JSONL file; the place of a row is `line N`."""
    for line in lines(source.chunks, source.limits.max_row_bytes):
        at = f"line {line.number}"
        if line.data is None:
            limit = source.limits.max_row_bytes >> 20
            yield BadRow(at, f"the line is too long: {line.length:,} bytes, at most {limit} MiB are read")
        elif line.data.strip(b" \t\r"):
            yield _row(at, line, line.data, source.limits.max_depth)


def _row(at: str, line: Line, data: bytes, max_depth: int) -> RawRow | BadRow:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as err:
        return BadRow(at, describe_bad_bytes(err, line.offset))
    try:
        value = parse_json(text, max_depth)
    except BadJson as err:
        return BadRow(at, str(err))
    return row_of(at, value)


def row_of(at: str, value: object) -> RawRow | BadRow:
    """A JSON value as a row: only an object is one."""
    if isinstance(value, dict):
        return RawRow(at, value)
    kinds = {list: "an array", str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return BadRow(at, f"not an object: {kinds[type(value)]}")


def describe_bad_bytes(err: UnicodeDecodeError, offset: int) -> str:
    """Why bytes are not UTF-8: the byte and its offset in the file."""
    byte, place = err.object[err.start], offset + err.start
    if err.reason == "unexpected end of data":
        return f"not valid UTF-8: cut off in the middle of a character (byte 0x{byte:02x} at offset {place:,})"
    return (
        f"not valid UTF-8: byte 0x{byte:02x} at offset {place:,} ({err.reason}); if the text is Latin-1 or Windows-1252, convert it first"
    )
