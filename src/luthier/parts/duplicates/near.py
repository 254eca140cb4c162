"""Near copies: texts whose sets of shingles overlap by at least a threshold (Jaccard).

One decision: MinHash with banding only proposes pairs; every pair is then judged by its true Jaccard, so nothing below the
threshold is ever joined, and what banding may miss is bounded (under 1 % of pairs that lie right at the threshold).
Sources: Broder (1997); Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4 (banding). The sketches
are made by rensa (Rust).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from luthier.core.errors import MachineError, UserError
from luthier.parts.duplicates.shingles import Shingling, chunks, jaccard, mixed, multipliers

Progress = Callable[[str, int, int], None]
Warn = Callable[[str], None]
MISSED = 0.01
"""The largest chance that banding misses a pair whose Jaccard is the threshold itself; more alike pairs are missed less."""
MOST_PAIRS = 50_000_000
"""Pairs that are compared before the settings are called wrong for the data: minutes on one core, 10,000 rows of one template."""


def silent(what: str, done: int, total: int) -> None:
    """No progress display."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """How pairs are proposed: MinHash of `num_perm` values from `seed`, for a Jaccard of at least `threshold`."""

    threshold: float
    num_perm: int
    seed: int

    def bands(self) -> tuple[int, int]:
        """(bands, rows of a band): the longest bands that miss a pair at the threshold with probability at most MISSED."""
        best = 1
        for rows in range(1, self.num_perm + 1):
            if (1 - self.threshold**rows) ** (self.num_perm // rows) <= MISSED:
                best = rows
        return self.num_perm // best, best


@dataclass(frozen=True, eq=False)
class NearFinder:
    """Finds near copies among `texts`; rows of different `sides` (int64 [n]) are never copies of each other.

    warn: told when there are more pairs than can be compared; the copies found until then are used. Without it that is an error.
    """

    texts: list[str]
    sides: np.ndarray
    shingling: Shingling
    sketch: Sketch
    progress: Progress = silent
    warn: Warn | None = None
    lengths: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", np.fromiter(map(len, self.texts), np.int64, len(self.texts)))

    @property
    def threshold(self) -> float:
        """The smallest Jaccard of two near copies."""
        return self.sketch.threshold

    def groups(self) -> np.ndarray:
        """int64 [n]: the smallest row of the cluster of each row. A cluster is joined by pairs at or above the threshold.

        Raises UserError when there are more pairs than can be compared and nobody is there to be warned.
        """
        group = np.arange(len(self.texts))
        buckets, step, compared = self._buckets(), 0, 0
        while buckets:
            step += 1
            pairs, more = _pairs_at(buckets, step, group)
            compared += len(pairs[0])
            if compared > MOST_PAIRS:
                self._too_many(buckets)
                return group
            alike = self.likeness(pairs[0], pairs[1]) >= self.sketch.threshold
            group = joined(group, pairs[0][alike], pairs[1][alike])
            buckets = _still_apart(buckets, step, group) if more else []
        return group

    def _too_many(self, buckets: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Warn, or raise UserError, that rows share too much of their text for all pairs to be compared."""
        rows = np.unique(np.concatenate([rows for rows, _ in buckets]))
        got = f"{len(rows):,} rows that share much of their text and are not copies"
        where = f"for example {self.texts[int(rows[0])][:60]!r}"
        fix = "raise `threshold` (`split.near` in a project), or use longer shingles (`size`)"
        if self.warn is None:
            raise UserError("rows must be told apart by what they say", got, where, fix)
        self.warn(
            f"{got} ({where}): only {MOST_PAIRS:,} of their pairs were compared, so near copies among them may have been missed; {fix}"
        )

    def likeness(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """float64 [p]: the true Jaccard of each pair; 0 for rows of different sides."""
        out = np.zeros(len(a))
        todo = np.flatnonzero(self.sides[a] == self.sides[b])
        todo = todo[np.argsort(a[todo], kind="stable")]
        for part in chunks(self.lengths[a[todo]] + self.lengths[b[todo]]) if len(todo) else ():
            at = todo[part]
            rows, local = np.unique(np.concatenate([a[at], b[at]]), return_inverse=True)
            sets = self.shingling.sets([self.texts[i] for i in rows])
            out[at] = jaccard(sets, local[: len(at)], local[len(at) :])
            self.progress("comparing candidates", part.stop, len(todo))
        return out

    def _buckets(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each band: int32 rows of the buckets of two or more, bucket after bucket, and how many follow each in its bucket."""
        num_bands, _ = self.sketch.bands()
        keys = np.empty((num_bands, len(self.texts)), np.uint64)
        for part in chunks(self.lengths):
            keys[:, part] = self._band_keys(part)
            self.progress("sketching", part.stop, len(self.texts))
        out = []
        for band in keys:
            order = np.argsort(band, kind="stable")
            ordered = band[order]
            first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(order) else np.zeros(0, np.int64)
            sizes = np.diff(np.concatenate([first, [len(order)]]))
            following = np.repeat(first + sizes, sizes) - np.arange(len(order)) - 1
            several = np.repeat(sizes, sizes) > 1
            out.append((order[several].astype(np.int32), following[several].astype(np.int32)))
        return out

    def _band_keys(self, part: slice) -> np.ndarray:
        """uint64 [bands, rows of the part]: one hash for each band of each row's MinHash, different for different sides."""
        try:
            from rensa import RMinHash  # type: ignore[attr-defined]
        except ImportError:
            raise MachineError("finding near duplicates needs rensa: pip install 'luthier[data]'") from None
        hashes, counts = self.shingling.hashes(self.texts[part])
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, self.sketch.num_perm, self.sketch.seed)
        digests = np.array(matrix.to_rows(), np.uint64)
        num_bands, rows = self.sketch.bands()
        factors = multipliers(rows, 3)
        bands = digests[:, : num_bands * rows].reshape(len(digests), num_bands, rows)
        keys = (mixed(bands) * factors).sum(-1, dtype=np.uint64)
        return mixed(keys + mixed(self.sides[part].astype(np.uint64))[:, None]).T


def _pairs_at(buckets: list[tuple[np.ndarray, np.ndarray]], step: int, group: np.ndarray) -> tuple[np.ndarray, bool]:
    """int64 [2, p]: pairs `step` places apart in a bucket and not yet in one cluster; and whether buckets go on after them."""
    found, more = [], False
    for rows, following in buckets:
        at = np.flatnonzero(following >= step)
        a, b = rows[at].astype(np.int64), rows[at + step].astype(np.int64)
        apart = group[a] != group[b]
        found.append(a[apart] * len(group) + b[apart])
        more = more or bool((following > step).any())
    packed = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    return np.stack(np.divmod(packed, max(1, len(group)))), more


def _still_apart(buckets: list[tuple[np.ndarray, np.ndarray]], step: int, group: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The buckets that have more to compare after `step`: longer than that, and not yet one cluster."""
    out = []
    for rows, following in buckets:
        if not len(rows):
            continue
        first = np.flatnonzero(np.concatenate([[True], following[:-1] == 0]))
        sizes = following[first].astype(np.int64) + 1
        low, high = (f.reduceat(group[rows], first) for f in (np.minimum, np.maximum))
        kept = np.repeat((low != high) & (sizes > step + 1), sizes)
        if kept.any():
            out.append((rows[kept], following[kept]))
    return out


def joined(group: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The clusters after rows a[i] and b[i] are put together. A cluster is named by its smallest row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(a):
        return group
    names, local = np.unique(np.concatenate([group[a], group[b]]), return_inverse=True)
    graph = coo_array((np.ones(len(a), bool), (local[: len(a)], local[len(a) :])), shape=(len(names), len(names)))
    num, part = connected_components(graph, directed=False)
    smallest = np.full(num, len(group))
    np.minimum.at(smallest, part, names)
    to = np.arange(len(group))
    to[names] = smallest[part]
    return to[group]
