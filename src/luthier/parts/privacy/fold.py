"""A plain reading of a text in which look-alike digits, dashes and spaces are the ASCII ones.

One decision: the folded text is only looked at, never kept: each of its characters knows its place in the
original, so every span that is found in it is a span of the text as it stands.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"
_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_ONE_TO_ONE = {ord(c): "-" for c in _DASHES} | {ord(c): " " for c in _SPACES} | {c: chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)}


@dataclass(frozen=True, slots=True)
class Folded:
    """`text` for searching; `places[i]` is where its character i stands in the original (None: at i)."""

    text: str
    places: tuple[int, ...] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span in the original of a span (not empty) in `text`."""
        return (start, end) if self.places is None else (self.places[start], self.places[end - 1] + 1)


def fold(text: str) -> Folded:
    """Look-alike digits, dashes, spaces and full-width forms become ASCII; invisible characters are left out."""
    if text.isascii():
        return Folded(text)
    plain = text.translate(_ONE_TO_ONE)
    if any(not c.isascii() and c.isdecimal() for c in plain):
        plain = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in plain)
    if not any(c in plain for c in _INVISIBLE):
        return Folded(plain)
    places = tuple(i for i, c in enumerate(plain) if c not in _INVISIBLE)
    return Folded("".join(plain[i] for i in places), places)
