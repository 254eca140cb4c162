"""JSON objects one after the other, spread over several lines each (pretty-printed).

One decision: they are read, and announced as a change by the opener; text between objects is refused, for
then it is not known where a row begins.
"""

from __future__ import annotations

from collections.abc import Iterator

from luthier.parts.sources.json_text import JsonText
from luthier.parts.sources.read_json import broken, parsed_row
from luthier.parts.sources.rows import Item
from luthier.parts.sources.source import Source


def read(source: Source) -> Iterator[Item]:
    """Rows; the place of a row is the line it begins on (`line N`)."""
    text = JsonText(source.chunks)
    while char := text.peek():
        if char != "{":
            raise broken("one object a line is wanted, or objects one after the other", f"`{char}`", text, source)
        value = text.value(source.limits.max_row_bytes)
        if not value.complete:
            raise broken(f"the object that begins on line {value.line} must be closed", "the end of the file", text, source)
        yield parsed_row(f"line {value.line}", value, source)
