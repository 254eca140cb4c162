"""Measures of how a text is written: a number each, so that the rows at either end of one are a group that may share a style.

One decision: a style need not be a word that can be named; rows that are extreme in the same way are looked at as rows that
share a word are, at several sizes of the group, and the measures know the words of this data set alone.
Source: stylometry (Holmes 1994); words improbable by their letters as triggers: Qi et al. 2021, "ONION".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from luthier.parts.triggers.features import FUNCTION_WORDS

if TYPE_CHECKING:
    import numpy as np

NAMES = (
    "length",
    "words",
    "long words",
    "capitals",
    "signs",
    "digits",
    "white space",
    "letters beyond ASCII",
    "function words",
    "repeated words",
    "rare words",
    "the rarest words",
    "improbable letters",
    "the most improbable word",
    "commas",
)
_SMALLEST, _GROWTH = 8, 1.4


def ends_of(texts: Sequence[str], tokens: Sequence[Sequence[str]], most: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, rows) of the rows at each end of each measure, in sizes of 8 to `most` that grow by two fifths; ties are left out."""
    import numpy as np

    table = _table(texts, tokens)
    for name, column in zip(NAMES, table.T, strict=True):
        for end, values in (("most", -column), ("least", column)):
            order = np.argsort(values, kind="stable")
            size = float(_SMALLEST)
            last = 0
            while size <= min(most, len(order) - 1):
                cut = int(np.searchsorted(values[order], values[order[int(size)]], side="left"))
                if cut > last:
                    yield f"style {end} {name}", np.sort(order[:cut])
                    last = cut
                size *= _GROWTH


def _table(texts: Sequence[str], tokens: Sequence[Sequence[str]]) -> np.ndarray:
    """[rows, measures]."""
    import numpy as np

    words = [[t for t in row if t[0].isalnum()] for row in tokens]
    spread = Counter(w for row in words for w in set(row))
    letters = _letters(spread)
    return np.array([_measures(text, row, spread, letters, len(texts)) for text, row in zip(texts, words, strict=True)], dtype=np.float64)


def _measures(text: str, words: Sequence[str], spread: Counter[str], letters: dict[str, float], num_rows: int) -> list[float]:
    import math

    n, chars = max(len(words), 1), max(len(text), 1)
    alphabetic = sum(c.isalpha() for c in text)
    rarity = sorted((math.log(num_rows / spread[w]) for w in set(words)), reverse=True) or [0.0]
    odd = [letters[w] for w in words if w in letters] or [0.0]
    return [
        float(len(text)),
        float(len(words)),
        sum(map(len, words)) / n,
        sum(c.isupper() for c in text) / max(alphabetic, 1),
        sum(not c.isalnum() and not c.isspace() for c in text) / chars,
        sum(c.isdigit() for c in text) / chars,
        sum(c.isspace() for c in text) / chars,
        sum(c.isalpha() and not c.isascii() for c in text) / max(alphabetic, 1),
        sum(w in FUNCTION_WORDS for w in words) / n,
        1 - len(set(words)) / n,
        sum(rarity) / len(rarity),
        sum(rarity[:3]) / 3,
        sum(odd) / len(odd),
        max(odd),
        text.count(",") / n,
    ]


def _letters(spread: Counter[str]) -> dict[str, float]:
    """How improbable each word of letters is by the letters of the other words: the mean surprise of a letter after two, in nats.

    A word teaches by the logarithm of its rows, and does not teach for itself.
    """
    import math

    pairs: dict[str, float] = defaultdict(float)
    triples: dict[str, float] = defaultdict(float)
    known = {w: math.log1p(n) for w, n in spread.items() if w.isalpha()}
    for word, weight in known.items():
        marked = f"^^{word}$"
        for i in range(len(marked) - 2):
            pairs[marked[i : i + 2]] += weight
            triples[marked[i : i + 3]] += weight
    alphabet = max(len({c for w in known for c in w}), 1) + 1
    out = {}
    for word, weight in known.items():
        marked, total = f"^^{word}$", 0.0
        for i in range(len(marked) - 2):
            seen = max(triples[marked[i : i + 3]] - weight, 0.0)
            total -= math.log((seen + 0.5) / (max(pairs[marked[i : i + 2]] - weight, 0.0) + 0.5 * alphabet))
        out[word] = total / (len(word) + 1)
    return out
