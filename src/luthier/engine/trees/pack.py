"""A prefix tree flattened depth first into one pack of rows without padding, and its list of targets.

One decision: targets are not laid over the rows. They are a separate list (row, next token, weight,
sequence), because a row that branches predicts several next tokens, and a shared row serves several sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.engine.contract import TokenSequence
from luthier.engine.trees.merge import GATE_TOKENS, Tree, merge


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """M predictions, sorted by sequence, then by position.

    row: int64 [M], the row of the pack that predicts; token: int64 [M]; weight: float64 [M];
    sequence: int64 [M], the position of the sequence in the list that the caller gave.
    """

    row: np.ndarray
    token: np.ndarray
    weight: np.ndarray
    sequence: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """T rows; row i holds token `tokens[i]` at depth `positions[i]`; its ancestors are earlier rows.

    tokens, positions: int64 [T]. nodes: int64 [N, 3] (first row, row after the node, row after its last descendant),
    depth first, so that a node's descendants are contiguous after it. skip: depth of the first rows.
    """

    tokens: np.ndarray
    positions: np.ndarray
    nodes: np.ndarray
    targets: Targets
    skip: int
    as_if_separate: int

    @property
    def num_rows(self) -> int:
        return len(self.tokens)


def build_pack(sequences: Sequence[TokenSequence], numbers: Sequence[int], skip: int = 0, gate: int = GATE_TOKENS) -> Pack:
    """Pack the sequences at `numbers` of the list.

    `skip` leading tokens, shared by all of them, are left out (their keys and values come from a cache);
    targets predicted from those rows are left out too.
    """
    chosen = [sequences[i] for i in numbers]
    tree = merge([s.tokens for s in chosen], skip, gate)
    lengths = tree.end - tree.start
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pieces = [chosen[s].tokens[a:b] for s, a, b in zip(tree.source, tree.start, tree.end, strict=True)]
    tokens = np.concatenate(pieces).astype(np.int64) if pieces else np.zeros(0, np.int64)
    positions = np.arange(first[-1]) + np.repeat(tree.start - first[:-1], lengths)
    nodes = np.stack([first[:-1], first[1:], _last_rows(tree, first)], axis=1)
    targets = _targets(chosen, np.asarray(numbers, dtype=np.int64), tree, first[:-1], skip)
    return Pack(tokens, positions, nodes, targets, skip, sum(len(s.tokens) for s in chosen))


def _last_rows(tree: Tree, first: np.ndarray) -> np.ndarray:
    last = first[1:].copy()
    for node in range(len(last) - 1, -1, -1):
        parent = tree.parent[node]
        if parent >= 0:
            last[parent] = max(last[parent], last[node])
    return last


def _targets(chosen: list[TokenSequence], numbers: np.ndarray, tree: Tree, first: np.ndarray, skip: int) -> Targets:
    """Each target's row, found by walking up from its sequence's last node, all targets at once."""
    where = [np.flatnonzero(s.weights) for s in chosen]
    where = [w[w > skip] for w in where]
    owner = np.repeat(np.arange(len(chosen)), [len(w) for w in where])
    position = np.concatenate([*where, np.zeros(0, np.int64)]).astype(np.int64)
    predictor = position - 1
    node = tree.leaf[owner]
    while True:
        above = tree.start[node] > predictor
        if not above.any():
            break
        node = np.where(above, tree.parent[node], node)
    token = np.concatenate([*(s.tokens[w] for s, w in zip(chosen, where, strict=True)), np.zeros(0, np.int64)])
    weight = np.concatenate([*(s.weights[w] for s, w in zip(chosen, where, strict=True)), np.zeros(0)])
    row = first[node] + predictor - tree.start[node] if len(node) else position
    return Targets(row.astype(np.int64), token.astype(np.int64), weight.astype(np.float64), numbers[owner])
