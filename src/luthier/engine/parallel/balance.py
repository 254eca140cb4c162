"""Which sequences of an optimiser step each process computes.

One decision: a share is weighed by the work that its tree takes: tokens after sharing, attention pairs, and the head's
rows. Cuts along the order of the tokens keep shared prefixes together; where those leave one process with much more
than the others, sequences are dealt out by weight instead. The better of the two is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from luthier.core.errors import LuthierError
from luthier.engine.contract import TokenSequence
from luthier.engine.memory.dimensions import read_dimensions
from luthier.engine.memory.flops import head_cost, pair_cost
from luthier.engine.trees.merge import sorted_with_overlap

_HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Cost:
    """Work in units of a row's linear layers. pair: one (row, key) pair of attention; target: one row of the head.

    shared: whether the engine computes a shared prefix once.
    """

    pair: float = 0.0
    target: float = 0.0
    shared: bool = True


def cost_of(folder: Path, engine: str) -> Cost:
    """The cost for the model in `folder`; tokens alone count where its config does not name the sizes of a gated decoder."""
    try:
        sizes = read_dimensions(folder)
    except LuthierError:
        return Cost(shared=engine != "reference")
    return Cost(pair_cost(sizes), head_cost(sizes), engine != "reference")


def divide(sequences: Sequence[TokenSequence], parts: int, cost: Cost) -> list[list[int]]:
    """Positions in `sequences` of each of `parts` shares, ascending; each position once. A share may be empty."""
    if not sequences:
        return [[] for _ in range(parts)]
    line = _Line(sequences, cost)
    found = min((line.cut(parts), line.dealt(parts)), key=lambda shares: max(line.work(s) for s in shares))
    return [sorted(int(line.order[place]) for place in share) for share in found]


class _Line:
    """Sequences in the order of their tokens; a place is a position in that order."""

    def __init__(self, sequences: Sequence[TokenSequence], cost: Cost) -> None:
        self.order, overlap = sorted_with_overlap([s.tokens for s in sequences])
        self._overlap = overlap if cost.shared else np.zeros_like(overlap)
        self._length = np.array([len(sequences[i].tokens) for i in self.order], dtype=np.int64)
        self._head = cost.target * np.array([np.count_nonzero(sequences[i].weights) for i in self.order])
        self._pair = cost.pair

    def _tokens(self, n: np.ndarray) -> np.ndarray:
        return n + self._pair * n * (n + 1) / 2

    def work(self, places: Sequence[int]) -> float:
        """Work of these places, ascending, computed together."""
        if not len(places):
            return 0.0
        between = [int(self._overlap[a + 1 : b + 1].min()) for a, b in pairwise(places)]
        shared = np.array([0, *between])
        at = np.asarray(places)
        return float((self._tokens(self._length[at]) - self._tokens(shared) + self._head[at]).sum())

    def cut(self, parts: int) -> list[list[int]]:
        """Contiguous shares whose heaviest is as light as contiguous shares can be."""
        alone = self._tokens(self._length) + self._head
        fresh = alone - self._tokens(self._overlap)
        low, high = 0.0, float(alone.sum())
        best = [list(range(len(alone)))]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = _filled(alone, fresh, middle)
            low, high, best = (middle, high, best) if len(found) > parts or alone.max() > middle else (low, middle, found)
        return [*best, *([] for _ in range(parts - len(best)))]

    def dealt(self, parts: int) -> list[list[int]]:
        """Heaviest first, each to the share that is lightest so far."""
        shares: list[list[int]] = [[] for _ in range(parts)]
        load = [0.0] * parts
        alone = self._tokens(self._length) + self._head
        for place in np.argsort(-alone, kind="stable"):
            lightest = int(np.argmin(load))
            shares[lightest].append(int(place))
            load[lightest] += float(alone[place])
        return [sorted(share) for share in shares]


def _filled(alone: np.ndarray, fresh: np.ndarray, most: float) -> list[list[int]]:
    """Shares along the line, each taking what stays within `most`, and one sequence at least."""
    shares: list[list[int]] = []
    load = 0.0
    for place in range(len(alone)):
        if shares and load + fresh[place] <= most:
            load += fresh[place]
            shares[-1].append(place)
        else:
            load = alone[place]
            shares.append([place])
    return shares
