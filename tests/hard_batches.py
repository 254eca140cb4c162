"""Batches that are hard for a prefix tree, shared by the parity gates."""

from __future__ import annotations

import numpy as np

from luthier.engine.contract import Batch, TokenSequence
from toys import random_tokens, sequence


def as_batch(sequences: list[TokenSequence]) -> Batch:
    return Batch(tuple(sequences), float(sum(s.weights.sum() for s in sequences)))


def single() -> list[TokenSequence]:
    rng = np.random.default_rng(1)
    return [sequence(random_tokens(rng, 40), list(range(20, 40)))]


def packed() -> list[TokenSequence]:
    """Sequences that share nothing, of very different lengths, some with targets in the middle only."""
    rng = np.random.default_rng(2)
    long = sequence(random_tokens(rng, 150), [1, 50, 51, 149])
    return [long, *(sequence(random_tokens(rng, n), [n // 2, n - 1]) for n in (2, 3, 17, 18, 40))]


def deep_tree() -> list[TokenSequence]:
    """Three levels of shared pieces, branching labels, a shared row that carries targets of several sequences,
    repeated sequences with different weights, and one sequence that is a prefix of another."""
    rng = np.random.default_rng(3)
    root = random_tokens(rng, 70)
    middle = root + random_tokens(rng, 60)
    low = middle + random_tokens(rng, 55)
    out = [sequence(root + random_tokens(rng, n), list(range(70, 70 + n))) for n in (1, 5, 9, 30, 120)]
    out += [sequence(middle + random_tokens(rng, n), [100, 129, 130, 129 + n]) for n in (3, 4, 7)]
    out += [sequence(low + random_tokens(rng, n), [184, 185, 184 + n], [0.5, 2.0, 0.25]) for n in (2, 6)]
    out += [sequence([*middle, 5, 6], [50, 70, 131]), sequence([*middle, 5, 6], [50, 70, 131], [0.5, 2.0, 1.5])]
    out += [sequence(middle[:-3], [20, 70, 100]), sequence(root, [69]), sequence(random_tokens(rng, 20), [3, 4, 19])]
    return out


BATCHES = {"single": single, "packed": packed, "tree": deep_tree}
