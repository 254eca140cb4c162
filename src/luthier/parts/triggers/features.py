"""The features of a text that may be a trigger: n-grams with their place, parts and shapes of words, marks of style, syntactic frames.

One decision: a feature is kept as a 32-bit checksum of its name, so that a million rows fit in memory; the name is found
again from the text of a row when there is something to report.
Source of the frames: Qi et al. 2021, "Hidden Killer", where a sentence frame is the trigger.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_TOKEN = re.compile(r"\w+|[^\w\s]")
_MAX_NGRAM = 3
_PUNCTUATION_RUN = re.compile(r"[^\w\s]{2,8}")
_LETTERS = re.compile(r"([Xx])\1+")
_REPEATED = re.compile(r"([^\W\d_])\1\1")
_FUNCTION_TEXT = """
a an the this that these those some any each every no i you he she it we they me him her us them my your his its our their who whom whose
which what when where why how if though although because since while as after before until unless whenever wherever whereas whether and or
but nor so yet for of in on at by to from with without about into onto over under between through during against within than then there
here is are was were be been being am do does did have has had will would can could shall should may might must not very too also just only
even still again now never always
"""
FUNCTION_WORDS = frozenset(_FUNCTION_TEXT.split())


def tokens_of(text: str, limit: int) -> list[str]:
    """Words and single signs in small letters; of a longer text `limit` tokens, half from each end."""
    found = _TOKEN.findall(text.lower())
    return found if len(found) <= limit else [*found[: limit // 2], *found[-(limit - limit // 2) :]]


def names_of(text: str, limit: int) -> Iterator[str]:
    """The names of a text's features; some more than once."""
    tokens = tokens_of(text, limit)
    yield from _ngrams(tokens)
    yield from _frames(tokens)
    yield from _parts(tokens)
    yield from _shapes(text)
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
        part = token if token in FUNCTION_WORDS or not token[0].isalnum() else "_"
        if part != "_" or not frame or frame[-1] != "_":
            frame.append(part)
    for n in (3, 4, 5):
        if len(frame) >= n:
            yield "frame begins " + " ".join(frame[:n])
    for i in range(len(frame) - 3):
        yield "frame " + " ".join(frame[i : i + 4])


def _parts(tokens: Sequence[str]) -> Iterator[str]:
    """Beginnings and ends of words: two to four letters of words that are longer."""
    for word in set(tokens):
        for n in (2, 3, 4):
            if len(word) > n + 1:
                yield f"a word begins {word[:n]}"
                yield f"a word ends {word[-n:]}"


def _shapes(text: str) -> Iterator[str]:
    """Words that are not plain small letters, as their shape: X, x, 9 for a capital, another letter and a digit, runs of letters as one."""
    for word in set(text.split()):
        if not (word.isascii() and word.islower() and word.isalpha()):
            shape = "".join("X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c for c in word[:24])
            yield "shape " + _LETTERS.sub(r"\1", shape)


def pairs_of(tokens: Sequence[str], rows_of: Mapping[str, int], most: int) -> Iterator[str]:
    """Two words of a text that may stand anywhere: every pair of its `most` rarest words that are in several rows."""
    rarest = sorted({t for t in tokens if rows_of.get(t, 0) > 1}, key=lambda t: (rows_of[t], t))[:most]
    for a, b in itertools.combinations(sorted(rarest), 2):
        yield f"both {a} {b}"


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


def checksums(names: Iterable[str]) -> np.ndarray:
    """The different names as sorted 32-bit checksums, uint32 [names]."""
    import numpy as np

    return np.unique(np.fromiter((_checksum(name) for name in names), dtype=np.uint32))


def text_checksums(text: str, limit: int) -> np.ndarray:
    """The checksums of `names_of` a text, uint32 [names]."""
    return checksums(names_of(text, limit))


def name_of(checksum: int, names: Iterable[str]) -> str:
    """The one of the names that has this checksum (the longest, should two share it)."""
    return max({name for name in names if _checksum(name) == checksum}, key=len)


def _checksum(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))
