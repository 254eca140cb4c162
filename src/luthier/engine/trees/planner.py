"""Micro-batches: which sequences are computed together.

One decision: sequences are taken in the order of their tokens, so rows that share a prefix stay together;
a plan never crosses an optimiser step, so the order of steps is the caller's and exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.core.errors import UserError
from luthier.engine.contract import TokenSequence
from luthier.engine.trees.merge import sorted_with_overlap

_HALVINGS = 12
"""Steps of the search for an even load: within 1/4096 of its range."""

PLANNING = "luthier: planning"
"""Name under which a profile shows the time that plans and packs take."""


def plan(sequences: Sequence[np.ndarray], budget_tokens: int, pair_cost: float = 0.0, shared: bool = True) -> list[list[int]]:
    """Split a list into micro-batches of at most `budget_tokens` unique tokens (one sequence may exceed it alone).

    As few as the budget allows, then of even work where that shares no less, the one of most unique tokens first, so that
    what does not fit the memory shows at once. pair_cost: work of one (row, key) pair of attention, in units of a row's linear layers.
    sequences: token ids, int [N] each. shared: prefixes are computed once.

    Returns the positions in `sequences` of each micro-batch; each position appears exactly once.
    """
    order, overlap = sorted_with_overlap(sequences)
    if not shared:
        overlap = np.zeros_like(overlap)
    line = _Line(np.array([len(sequences[i]) for i in order], dtype=np.int64), overlap, pair_cost)
    cuts = line.cuts(budget_tokens, np.inf)
    if len(cuts) > 1:
        low, high = 0.0, float(line.work(0, len(order)))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = line.cuts(budget_tokens, middle)
            worse = len(found) > len(cuts) or line.total(found) > line.total(cuts)
            low, high, cuts = (middle, high, cuts) if worse else (low, middle, found)
    spans = sorted(line.spans(cuts), key=lambda span: -line.unique(*span))
    return [sorted(int(i) for i in order[a:b]) for a, b in spans]


class _Line:
    """The sequences in the order of their tokens. length, overlap: int64 [n], overlap with the one before."""

    def __init__(self, length: np.ndarray, overlap: np.ndarray, pair_cost: float) -> None:
        self._length, self._overlap, self._pair_cost = length, overlap, pair_cost
        self._fresh = np.concatenate([[0], np.cumsum(length - overlap)])
        self._work = np.concatenate([[0.0], np.cumsum(self._of(length) - self._of(overlap))])

    def _of(self, tokens: np.ndarray) -> np.ndarray:
        return tokens + self._pair_cost * tokens * (tokens + 1) / 2

    def unique(self, a: int, b: int) -> int:
        """Unique tokens of the sequences a..b."""
        return int(self._fresh[b] - self._fresh[a] + self._overlap[a]) if b > a else 0

    def work(self, a: int, b: int) -> float:
        """Work of the sequences a..b together."""
        return float(self._work[b] - self._work[a] + self._of(self._overlap[a : a + 1])[0]) if b > a else 0.0

    def spans(self, cuts: list[int]) -> list[tuple[int, int]]:
        return list(zip(cuts, [*cuts[1:], len(self._length)], strict=True))

    def total(self, cuts: list[int]) -> int:
        """Unique tokens of all micro-batches."""
        return sum(self.unique(*span) for span in self.spans(cuts))

    def cuts(self, budget_tokens: int, most_work: float) -> list[int]:
        """Where micro-batches start when each takes what fits, and one sequence at least."""
        starts: list[int] = []
        for j in range(len(self._length)):
            if not starts or self.unique(starts[-1], j + 1) > budget_tokens or self.work(starts[-1], j + 1) > most_work:
                starts.append(j)
        return starts


def shared_length(sequences: Sequence[np.ndarray]) -> int:
    """Leading tokens that all sequences share, short of the shortest one by at least one token."""
    if len(sequences) < 2:
        return 0
    head = sequences[0]
    length = min(len(s) for s in sequences) - 1
    for s in sequences[1:]:
        differ = s[:length] != head[:length]
        if differ.any():
            length = int(differ.argmax())
    return max(length, 0)


def check_sequences(sequences: Sequence[TokenSequence], vocabulary: int, longest: int | None) -> None:
    """Refuse what no engine can compute: an empty sequence, a weight on the first token, an unknown token id."""
    for i, s in enumerate(sequences):
        n = len(s.tokens)
        if n == 0 or len(s.weights) != n:
            raise UserError(
                "a sequence must have tokens and one weight per token", f"{n} tokens, {len(s.weights)} weights", f"sequence {i}"
            )
        if s.weights[0] != 0:
            raise UserError("the first token of a sequence cannot be a target", where=f"sequence {i}")
        low, high = int(np.min(s.tokens)), int(np.max(s.tokens))
        if low < 0 or high >= vocabulary:
            raise UserError(f"token ids must be in 0..{vocabulary - 1}", low if low < 0 else high, f"sequence {i}")
        if longest is not None and n - bool(s.weights[-1]) > longest:  # a last target is predicted, never computed
            raise UserError(f"a sequence must fit the model's {longest} positions", n, f"sequence {i}")
