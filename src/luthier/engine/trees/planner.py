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


def plan(sequences: Sequence[np.ndarray], budget_tokens: int) -> list[list[int]]:
    """Split a list into micro-batches of at most `budget_tokens` unique tokens (one sequence may exceed it alone).

    sequences: token ids, int [N] each. Returns the positions in `sequences` of each micro-batch; each position appears exactly once.
    """
    order, overlap = sorted_with_overlap(sequences)
    groups: list[list[int]] = []
    used = 0
    for j, number in enumerate(order):
        length = len(sequences[number])
        fresh = length - int(overlap[j])
        if groups and used + fresh <= budget_tokens:
            groups[-1].append(int(number))
            used += fresh
        else:
            groups.append([int(number)])
            used = length
    return [sorted(g) for g in groups]


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
        if longest is not None and n > longest:
            raise UserError(f"a sequence must fit the model's {longest} positions", n, f"sequence {i}")
