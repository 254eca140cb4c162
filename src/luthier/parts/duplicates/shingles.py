"""Shingles: the set of all runs of `size` characters (or words) of a text, as numbers, for many texts in one pass.

One decision: runs are hashed by array arithmetic and never built as strings. A shingle is a 64-bit hash; sets are compared
by its upper 44 bits, so two different shingles of one pair of texts are taken for one about once in 10**13 / n**2.
Source: A. Broder, "On the resemblance and containment of documents" (1997).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Unit = Literal["characters", "words"]
SET_BITS = 44
_ROW_BITS = 64 - SET_BITS
CHUNK_ROWS = 1 << 14
CHUNK_CHARACTERS = 2_000_000
_SPACE = 32


@dataclass(frozen=True, slots=True)
class Shingling:
    """What a shingle is: `size` characters or words in a row, of a text with single spaces."""

    unit: Unit
    size: int

    def hashes(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """uint64 [S] hashes of all shingles, text after text, repeats included; int64 [n] how many each text has (at least 1).

        A text of fewer than `size` units is one shingle.
        """
        tokens, lengths = _characters(texts)
        if self.unit == "words":
            tokens, lengths = _words(tokens, lengths)
        return _runs(tokens, lengths, self.size)

    def sets(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """uint64 [S] distinct shingles (44 bits) of each text, ascending; int64 [n] how many. At most 2**20 texts."""
        assert len(texts) <= 1 << _ROW_BITS
        hashes, counts = self.hashes(texts)
        rows = np.repeat(np.arange(len(texts), dtype=np.uint64), counts)
        keys = (rows << np.uint64(SET_BITS)) | (hashes >> np.uint64(_ROW_BITS))
        keys.sort()
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
        own = np.bincount((keys >> np.uint64(SET_BITS)).astype(np.int64), minlength=len(texts))
        return keys & np.uint64((1 << SET_BITS) - 1), own


def chunks(lengths: np.ndarray) -> Iterator[slice]:
    """Runs of texts of at most CHUNK_CHARACTERS characters and CHUNK_ROWS texts (a longer text is alone)."""
    start, total = 0, np.concatenate([[0], np.cumsum(lengths)])
    while start < len(lengths):
        end = int(np.searchsorted(total, total[start] + CHUNK_CHARACTERS, "right")) - 1
        end = min(max(end, start + 1), start + CHUNK_ROWS)
        yield slice(start, end)
        start = end


def jaccard(sets: tuple[np.ndarray, np.ndarray], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [p]: |A & B| / |A | B| of the pairs (a[i], b[i]) of texts whose `sets` these are. At most 2**20 pairs."""
    values, counts = sets
    starts = np.cumsum(counts) - counts
    keys = np.concatenate([_numbered(values, starts[side], counts[side]) for side in (a, b)])
    keys.sort()
    twice = keys[1:][keys[1:] == keys[:-1]]
    both = np.bincount((twice >> np.uint64(SET_BITS)).astype(np.int64), minlength=len(a))
    return both / (counts[a] + counts[b] - both)


def _numbered(values: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The members of the i-th set with i in the upper bits, set after set."""
    number = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
    return (number.astype(np.uint64) << np.uint64(SET_BITS)) | values[np.repeat(starts, counts) + within]


def mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): uint64 to uint64, one to one."""
    x = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def multipliers(num: int, stream: int) -> np.ndarray:
    """`num` odd uint64 numbers, the same for the same `stream`."""
    return mixed(np.arange(num, dtype=np.uint64) + np.uint64(stream << 32)) | np.uint64(1)


def _characters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [T] code points of all texts, int64 [n] lengths."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes.astype(np.uint64), np.fromiter(map(len, texts), np.int64, len(texts))


def _words(codes: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One hash for each word (run without a space), and words in each text."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    kept = codes != _SPACE
    before = np.concatenate([[False], kept[:-1] & (row[1:] == row[:-1])]) if len(codes) else kept
    starts = kept & ~before
    begins = np.flatnonzero(starts[kept])
    if not len(begins):
        return np.zeros(0, np.uint64), np.zeros(len(lengths), np.int64)
    sizes = np.diff(np.concatenate([begins, [int(kept.sum())]]))
    place = np.arange(int(kept.sum())) - np.repeat(begins, sizes)
    parts = mixed(codes[kept]) * multipliers(int(sizes.max()), 2)[place]
    return np.add.reduceat(parts, begins), np.bincount(row[starts], minlength=len(lengths))


def _runs(tokens: np.ndarray, lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the runs of `size` tokens inside each text; a shorter text is filled up and has one run."""
    room = np.maximum(lengths, size)
    ends = np.cumsum(room)
    filled = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint64)
    shift = np.repeat(ends - room - (np.cumsum(lengths) - lengths), lengths)
    filled[np.arange(len(tokens)) + shift] = mixed(tokens)
    total = np.zeros(max(0, len(filled) - size + 1), np.uint64)
    for j, factor in enumerate(multipliers(size, 1)):
        total += filled[j : j + len(total)] * factor
    inside = np.ones(len(filled), bool)
    for j in range(1, size):
        inside[ends - j] = False
    return mixed(total[inside[: len(total)]]), room - size + 1
