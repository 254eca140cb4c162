"""JSON values cut out of a stream one at a time, without holding the stream and without recursion.

One decision: the scanner only finds where a value ends; what is in it is parsed strictly afterwards, so one
bad element costs that element, and a file that never closes is told from a file with a bad row.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[,\]}\s]")
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Value:
    """One value's text (None when it is over the limit), the line it starts on, and whether it was closed."""

    text: str | None
    line: int
    length: int
    complete: bool


class JsonText:
    """A cursor over UTF-8 chunks. Bytes that are not UTF-8 become surrogates, for the caller to refuse."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._pos = 0
        self._ended = False
        self.line = 1
        self.offset = 0

    def peek(self) -> str:
        """The next character that is not white space, or "" at the end."""
        while True:
            while self._pos < len(self._text):
                if self._text[self._pos] not in _SPACE:
                    return self._text[self._pos]
                self.step()
            if not self._load():
                return ""

    def step(self) -> None:
        """Move over one character."""
        self._consume(self._pos + 1)

    def _consume(self, end: int) -> str:
        taken = self._text[self._pos : end]
        self.line += taken.count("\n")
        self.offset += len(taken)
        self._pos = end
        return taken

    def _load(self) -> bool:
        while not self._ended:
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            text = self._decoder.decode(chunk or b"", final=self._ended)
            if text:
                self._text, self._pos = text, 0
                return True
        return False

    def value(self, limit: int) -> Value:
        """Take one value, from the character that `peek` gave. Over `limit` characters it is counted, not held."""
        line, length = self.line, 0
        pieces: list[str] = []
        scan = _Scan(self.peek())
        while True:
            end, done = scan.run(self._text, self._pos)
            piece = self._consume(end)
            length += len(piece)
            if length <= limit:
                pieces.append(piece)
            else:
                pieces.clear()
            if done or not self._load():
                closed = done or scan.is_scalar
                return Value("".join(pieces) if length <= limit else None, line, length, closed)


class _Scan:
    """Finds the end of one value over several pieces of text."""

    def __init__(self, first: str) -> None:
        self.is_scalar = first not in '{["'
        self._depth = 0
        self._in_string = False
        self._skip = 0

    def run(self, text: str, pos: int) -> tuple[int, bool]:
        """(where the value ends in `text`, whether it ended)."""
        if self.is_scalar:
            match = _SCALAR_END.search(text, pos)
            return (match.start(), True) if match else (len(text), False)
        pos += self._skip
        self._skip = 0
        while match := (_INSIDE if self._in_string else _OUTSIDE).search(text, pos):
            pos = match.end()
            token = match.group()
            if token == "\\":
                self._skip = 1 if pos >= len(text) else 0
                pos += 1
            elif token == '"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if token in "{[" else -1
            if not self._in_string and self._depth <= 0 and token != "\\":
                return pos, True
        return len(text), False
