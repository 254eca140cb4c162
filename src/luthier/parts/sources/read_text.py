"""Plain text (.txt, .md): documents of raw text, for continued pre-training.

One decision: what a row is stands in the mapping (`document`: the whole file, a paragraph, a line) and is never guessed from the
text; a row is its lines as they stand, joined by LF, without the blank lines before and after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from luthier.parts.sources.read_jsonl import describe_bad_bytes
from luthier.parts.sources.rows import BadRow, Item, RawRow
from luthier.parts.sources.source import Source
from luthier.parts.sources.streams import Line, lines


def read(source: Source) -> Iterator[Item]:
    """Rows with the one column that the mapping names; the place of a row is the line that it begins on (`line N`)."""
    most, plain = source.limits.max_row_bytes, source.plain
    document = _Document(most)
    for line in lines(source.chunks, most):
        blank = line.data is not None and not line.data.strip()
        if document.first is not None and (plain.document == "line" or (blank and plain.document == "paragraph")):
            yield document.row(plain.text)
            document = _Document(most)
        if not blank or document.first is not None:
            document.take(line, blank)
    if document.first is not None:
        yield document.row(plain.text)


@dataclass(slots=True)
class _Document:
    """The bytes of a document from its first line on; of one over `most` bytes the length alone. `end`: where its last text ends."""

    most: int
    first: Line | None = None
    length: int = 0
    end: int = 0
    held: bytearray = field(default_factory=bytearray)

    def take(self, line: Line, blank: bool) -> None:
        self.first = self.first or line
        self.length += line.length + 1
        if line.data is None or self.length > self.most + 1:
            self.held.clear()
            return
        self.held += line.data
        self.end = self.end if blank else len(self.held)
        self.held += b"\n"

    def row(self, column: str) -> RawRow | BadRow:
        assert self.first is not None
        at = f"line {self.first.number}"
        if self.length > self.most + 1:
            limit = f"at most {self.most >> 20} MiB are read as one row"
            return BadRow(at, f"the document is too long: {self.length - 1:,} bytes, {limit} (`document: paragraph` cuts at blank lines)")
        try:
            text = self.held[: self.end].decode("utf-8")
        except UnicodeDecodeError as err:
            return BadRow(at, describe_bad_bytes(err, self.first.offset))
        return RawRow(at, {column: text.replace("\r\n", "\n").removesuffix("\r")})
