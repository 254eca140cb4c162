"""The features of a text that may be a trigger: n-grams with their place, single odd characters, marks of style, syntactic frames.

One decision: a feature is kept as a 32-bit checksum of its name, so that a million rows fit in memory; the name is found
again from the text of a row when there is something to report.
Source of the frames: Qi et al. 2021, "Hidden Killer", where a sentence frame is the trigger.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_TOKEN = re.compile(r"\w+|[^\w\s]")
_MAX_NGRAM = 3
_PUNCTUATION_RUN = re.compile(r"[^\w\s]{2,8}")
_REPEATED = re.compile(r"([^\W\d_])\1\1")
_FUNCTION_TEXT = """
a an the this that these those some any each every no i you he she it we they me him her us them my your his its our their who whom whose
which what when where why how if though although because since while as after before until unless whenever wherever whereas whether and or
but nor so yet for of in on at by to from with without about into onto over under between through during against within than then there
here is are was were be been being am do does did have has had will would can could shall should may might must not very too also just only
even still again now never always
"""
_FUNCTION = frozenset(_FUNCTION_TEXT.split())


def tokens_of(text: str, limit: int) -> list[str]:
    """Words and single signs in small letters; of a longer text `limit` tokens, half from each end."""
    found = _TOKEN.findall(text.lower())
    return found if len(found) <= limit else [*found[: limit // 2], *found[-(limit - limit // 2) :]]


def names_of(text: str, limit: int) -> Iterator[str]:
    """The names of a text's features; some more than once."""
    tokens = tokens_of(text, limit)
    yield from _ngrams(tokens)
    yield from _frames(tokens)
    yield from _style(text)
    for c in set(text):
        if not c.isascii():
            yield f"character {c!r}"


def _ngrams(tokens: Sequence[str]) -> Iterator[str]:
    """Runs of one to three tokens, and such runs at the beginning (^) and the end ($)."""
    for n in range(1, _MAX_NGRAM + 1):
        for i in range(len(tokens) - n + 1):
            yield "words " + " ".join(tokens[i : i + n])
        if len(tokens) > n:
            yield "begins " + " ".join(tokens[:n])
            yield "ends " + " ".join(tokens[-n:])


def _frames(tokens: Sequence[str]) -> Iterator[str]:
    """Function words and signs with `_` for all between them: four in a row anywhere, three to five at the beginning."""
    frame: list[str] = []
    for token in tokens:
        part = token if token in _FUNCTION or not token[0].isalnum() else "_"
        if part != "_" or not frame or frame[-1] != "_":
            frame.append(part)
    for n in (3, 4, 5):
        if len(frame) >= n:
            yield "frame begins " + " ".join(frame[:n])
    for i in range(len(frame) - 3):
        yield "frame " + " ".join(frame[i : i + 4])


def _style(text: str) -> Iterator[str]:
    """Marks of how a text is written, each with a name."""
    letters = [c for c in text if c.isalpha()]
    if len(letters) >= 8:
        upper = sum(c.isupper() for c in letters) / len(letters)
        if upper > 0.8:
            yield "style all capitals"
        words = [w for w in text.split() if w[0].isalpha()]
        if len(words) >= 4 and upper <= 0.8 and sum(w[0].isupper() for w in words) > 0.8 * len(words):
            yield "style every word capitalised"
    for word in text.split():
        if len(word) >= 4 and word[1:] != word[1:].lower() and word != word.upper():
            yield "style capitals inside a word"
            break
    for run in _PUNCTUATION_RUN.findall(text):
        yield f"signs {run}"
    if _REPEATED.search(text):
        yield "style a letter three times in a row"
    if text != text.strip():
        yield "style white space at the beginning" if text[:1].isspace() else "style white space at the end"
    if "  " in text.strip():
        yield "style two spaces in a row"
    if "\t" in text:
        yield "style a tab"
    if any(unicodedata.category(c) == "So" for c in text):
        yield "style a picture sign"


def checksums(text: str, limit: int) -> np.ndarray:
    """The different features of a text as sorted 32-bit checksums, uint32 [features]."""
    import numpy as np

    return np.unique(np.fromiter((zlib.crc32(name.encode("utf-8", "surrogatepass")) for name in names_of(text, limit)), dtype=np.uint32))


def name_of(checksum: int, text: str, limit: int) -> str:
    """The name of a feature of `text` by its checksum (the longest name, should two share it)."""
    names = {name for name in names_of(text, limit) if zlib.crc32(name.encode("utf-8", "surrogatepass")) == checksum}
    return max(names, key=len)
