"""A JSON file that is one array of objects, read element by element.

One decision: an element that is bad in itself is set aside (`row N`); an array that is broken (never closed,
a comma too many, text after it) is refused with line and offset, for its rows cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from luthier.core.errors import UserError
from luthier.parts.sources.json_text import JsonText, Value
from luthier.parts.sources.read_jsonl import row_of
from luthier.parts.sources.rows import BadRow, Item, RawRow
from luthier.parts.sources.source import Source
from luthier.parts.sources.strict_json import BadJson, parse_json


def read(source: Source) -> Iterator[Item]:
    """Rows of a JSON array; the place of a row is `row N`. Raises UserError when the array is broken."""
    text, number = JsonText(source.chunks), 0
    if text.peek() != "[":
        raise broken("the file must be an array of objects", f"`{text.peek()[:1]}`", text, source)
    text.step()
    while (char := text.peek()) != "]":
        if char == ",":
            raise broken("an element must stand before each comma", "`,`", text, source)
        value = text.value(source.limits.max_row_bytes) if char else Value("", text.line, 0, False)
        if not value.complete or not value.length:
            raise broken("the array must be closed by `]`", "the end of the file" if not text.peek() else f"`{char}`", text, source)
        number += 1
        yield parsed_row(f"row {number}", value, source)
        _after_element(text, source)
    text.step()
    if text.peek():
        raise broken("nothing may follow the array", f"`{text.peek()}`", text, source)


def _after_element(text: JsonText, source: Source) -> None:
    char = text.peek()
    if char == ",":
        line, offset = text.line, text.offset
        text.step()
        if text.peek() == "]":
            raise UserError("no comma may follow the last element", f"one at line {line}, offset {offset}", source.name, "remove it")
    elif char != "]":
        got = f"`{char}`" if char else "the end of the file"
        raise broken("a comma or `]` must follow an element", got, text, source)


def broken(must: str, got: str, text: JsonText, source: Source) -> UserError:
    """A UserError with line and offset of the cursor. A byte that is no UTF-8 (a lone surrogate here) is named by its number."""
    got = "".join(f"byte 0x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in got)
    return UserError(must, f"{got} at line {text.line}, offset {text.offset:,}", source.name)


def parsed_row(at: str, value: Value, source: Source) -> RawRow | BadRow:
    """One element as a row."""
    if value.text is None:
        return BadRow(at, f"too long: {value.length:,} characters, at most {source.limits.max_row_bytes:,} are read")
    escaped = next((c for c in value.text if "\udc80" <= c <= "\udcff"), "") if not value.text.isascii() else ""
    if escaped:
        return BadRow(at, f"not valid UTF-8: byte 0x{ord(escaped) - 0xDC00:02x} on or after line {value.line}")
    try:
        return row_of(at, parse_json(value.text, source.limits.max_depth))
    except BadJson as err:
        return BadRow(at, f"{err} (the element begins on line {value.line})")
