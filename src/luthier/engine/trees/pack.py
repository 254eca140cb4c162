"""A prefix tree flattened depth first into one pack of rows without padding, and its list of targets.

One decision: targets are not laid over the rows. They are a separate list (row, next token, weight,
sequence), because a row that branches predicts several next tokens, and a shared row serves several sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from luthier.engine.contract import TokenSequence
from luthier.engine.noise import TokenNoise
from luthier.engine.trees.merge import GATE_TOKENS, Tree, merge, separate


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
    ends: int64 [num_sequences], the row of each sequence's last computed token, in the order given. noise: of each row, or None.
    """

    tokens: np.ndarray
    positions: np.ndarray
    nodes: np.ndarray
    targets: Targets
    ends: np.ndarray
    tree: Tree
    as_if_separate: int
    noise: TokenNoise | None = None

    @property
    def num_rows(self) -> int:
        return len(self.tokens)

    def rows_of(self, member: int, depths: np.ndarray) -> np.ndarray:
        """Rows of the tokens at `depths` of the `member`-th sequence of the pack, int64."""
        return _rows(self.tree, self.nodes[:, 0], np.full(len(depths), self.tree.leaf[member]), depths)


def build_pack(sequences: Sequence[TokenSequence], numbers: Sequence[int], skip: int = 0, gate: int | None = GATE_TOKENS) -> Pack:
    """Pack what the targets of the sequences at `numbers` of the list depend on: the tokens before each last target.

    `skip` leading tokens, shared by all of them, are left out (their keys and values come from a cache);
    targets predicted from those rows are left out too. gate: see `merge`; None to share nothing.
    """
    chosen = [sequences[i] for i in numbers]
    lengths = [max(int(np.flatnonzero(s.weights)[-1]) if np.any(s.weights) else 0, skip + 1) for s in chosen]
    inputs = [s.tokens[:n] for s, n in zip(chosen, lengths, strict=True)]
    return _pack(chosen, inputs, np.asarray(numbers, dtype=np.int64), skip, gate)


def build_noisy_pack(sequences: Sequence[TokenSequence], numbers: Sequence[int], noise: Sequence[TokenNoise], shared: bool) -> Pack:
    """As `build_pack`, with the noise of each sequence's tokens. shared: they may share rows, which then have the same noise."""
    pack = build_pack(sequences, numbers, gate=GATE_TOKENS if shared else None)
    at = [(noise[numbers[s]], slice(a, b)) for s, a, b in zip(pack.tree.source, pack.tree.start, pack.tree.end, strict=True)]
    keys, reach = np.concatenate([n.keys[part] for n, part in at]), np.concatenate([n.reach[part] for n, part in at])
    return replace(pack, noise=replace(noise[0], keys=keys, reach=reach))


def build_full_pack(sequences: Sequence[np.ndarray], numbers: Sequence[int], skip: int = 0, gate: int = GATE_TOKENS) -> Pack:
    """Pack all tokens of the sequences at `numbers`, without targets."""
    inputs = [sequences[i] for i in numbers]
    chosen = [TokenSequence(tokens, np.zeros(len(tokens), np.float32)) for tokens in inputs]
    return _pack(chosen, inputs, np.asarray(numbers, dtype=np.int64), skip, gate)


def _pack(chosen: list[TokenSequence], inputs: list[np.ndarray], numbers: np.ndarray, skip: int, gate: int | None) -> Pack:
    tree = separate(inputs) if gate is None else merge(inputs, skip, gate)
    lengths = tree.end - tree.start
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.concatenate([inputs[s][a:b] for s, a, b in zip(tree.source, tree.start, tree.end, strict=True)]).astype(np.int64)
    positions = np.arange(first[-1]) + np.repeat(tree.start - first[:-1], lengths)
    nodes = np.stack([first[:-1], first[1:], _last_rows(tree, first)], axis=1)
    targets = _targets(chosen, numbers, tree, first[:-1], skip)
    ends = _rows(tree, first[:-1], tree.leaf, np.array([len(tokens) - 1 for tokens in inputs]))
    return Pack(tokens, positions, nodes, targets, ends, tree, sum(len(s.tokens) for s in chosen))


def _last_rows(tree: Tree, first: np.ndarray) -> np.ndarray:
    last = first[1:].copy()
    for node in range(len(last) - 1, -1, -1):
        parent = tree.parent[node]
        if parent >= 0:
            last[parent] = max(last[parent], last[node])
    return last


def _targets(chosen: list[TokenSequence], numbers: np.ndarray, tree: Tree, first: np.ndarray, skip: int) -> Targets:
    """The targets that rows of this pack predict."""
    where = [np.flatnonzero(s.weights) for s in chosen]
    where = [w[w > skip] for w in where]
    owner = np.repeat(np.arange(len(chosen)), [len(w) for w in where])
    position = np.concatenate([*where, np.zeros(0, np.int64)]).astype(np.int64)
    token = np.concatenate([*(s.tokens[w] for s, w in zip(chosen, where, strict=True)), np.zeros(0, np.int64)])
    weight = np.concatenate([*(s.weights[w] for s, w in zip(chosen, where, strict=True)), np.zeros(0)])
    row = _rows(tree, first, tree.leaf[owner], position - 1)
    return Targets(row, token.astype(np.int64), weight.astype(np.float64), numbers[owner])


def _rows(tree: Tree, first: np.ndarray, node: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The row at `depth` on the path down to `node`, for many pairs at once; rows are int64."""
    while len(node) and (above := tree.start[node] > depth).any():
        node = np.where(above, tree.parent[node], node)
    return (first[node] + depth - tree.start[node]).astype(np.int64)
