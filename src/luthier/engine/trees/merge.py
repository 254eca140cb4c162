"""Radix merge: token sequences into a prefix tree, by token id.

One decision: the tree is exact whatever the gate does. A shared piece that would save fewer than `gate`
tokens is not split off: its tokens are computed once per branch instead, which costs less than an extra
attention segment in every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GATE_TOKENS = 4
"""Fewest saved tokens for which a shared piece is split off, by `benchmarks/tree_gate.py` and `scoring.py`: four win already."""


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A radix tree over sequences, its nodes in depth-first order.

    parent, start, end: int64 [N]; node n holds depths `start[n]..end[n]` and hangs below `parent[n]` (-1 for a root).
    source: int64 [N], a sequence that runs through the node. leaf: int64 [num_sequences], where each sequence ends.
    """

    parent: np.ndarray
    start: np.ndarray
    end: np.ndarray
    source: np.ndarray
    leaf: np.ndarray

    @property
    def num_tokens(self) -> int:
        """Rows that the tree takes when it is flattened."""
        return int((self.end - self.start).sum())


def sorted_with_overlap(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Order of the sequences by token id, and how many leading tokens each shares with the one before it.

    Returns order, overlap: int64 [num_sequences]; overlap[0] is 0.
    """
    keys = [np.ascontiguousarray(s, dtype=">u4").tobytes() for s in sequences]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    overlap = np.zeros(len(order), dtype=np.int64)
    for j in range(1, len(order)):
        overlap[j] = common_length(sequences[order[j - 1]], sequences[order[j]])
    return order, overlap


def common_length(a: np.ndarray, b: np.ndarray) -> int:
    """Number of leading tokens that two sequences share."""
    n = min(len(a), len(b))
    differ = a[:n] != b[:n]
    first = int(differ.argmax()) if n else 0
    return first if n and differ[first] else n


def merge(sequences: Sequence[np.ndarray], skip: int = 0, gate: int = GATE_TOKENS) -> Tree:
    """The radix tree of `sequences` below depth `skip`, which all of them must share.

    sequences: int arrays, each longer than `skip`. gate: see the module. O(total tokens) in numpy, O(sequences) in Python.
    """
    order, overlap = sorted_with_overlap(sequences)
    grown = _Grown(skip)
    for j, sequence in enumerate(order):
        grown.add(j, int(sequence), len(sequences[sequence]), int(overlap[j]) if j else skip)
    return _ordered(*grown.gated(gate), num_sequences=len(sequences))


def separate(sequences: Sequence[np.ndarray]) -> Tree:
    """The same without any sharing: a root for each sequence."""
    number, length = np.arange(len(sequences), dtype=np.int64), np.array([len(s) for s in sequences], dtype=np.int64)
    return Tree(np.full_like(number, -1), np.zeros_like(number), length, number, number)


class _Grown:
    """The tree while it grows along the sorted sequences (its root, node 0, is the shared prefix or nothing)."""

    def __init__(self, skip: int) -> None:
        self.parent, self.end, self.first, self.source = [-1], [skip], [-1], [-1]
        self.ends_at: dict[int, int] = {}
        self._path = [0]

    def add(self, rank: int, sequence: int, length: int, overlap: int) -> None:
        cut = -1
        while self.end[self._path[-1]] > overlap:
            cut = self._path.pop()
        if self.end[self._path[-1]] < overlap:
            inner = self._node(self._path[-1], overlap, self.first[cut], sequence)
            self.parent[cut] = inner
            self._path.append(inner)
        if length > overlap:
            self._path.append(self._node(self._path[-1], length, rank, sequence))
        self.ends_at[sequence] = self._path[-1]

    def _node(self, parent: int, end: int, first: int, source: int) -> int:
        for values, value in ((self.parent, parent), (self.end, end), (self.first, first), (self.source, source)):
            values.append(value)
        return len(self.parent) - 1

    def gated(self, gate: int) -> tuple[_Grown, np.ndarray]:
        """Dissolve, deepest first, the inner nodes that save fewer than `gate` tokens; returns the nodes to keep."""
        end, first = np.array(self.end), np.array(self.first)
        children: list[list[int]] = [[] for _ in self.parent]
        for node, parent in enumerate(self.parent):
            if parent >= 0:
                children[parent].append(node)
        keep = np.ones(len(self.parent), dtype=bool)
        rides_with: dict[int, int] = {}
        for node in np.lexsort((end, first))[::-1]:
            below, parent = children[node], self.parent[node]
            if not below or parent < 0 or (end[node] - end[parent]) * (len(below) - 1) >= gate:
                continue
            keep[node] = False
            rides_with[int(node)] = below[0]
            for child in below:
                self.parent[child] = parent
            children[parent].remove(int(node))
            children[parent].extend(below)
        for sequence, node in self.ends_at.items():
            at = node
            while at in rides_with:
                at = rides_with[at]
            self.ends_at[sequence] = at
        return self, keep


def _ordered(grown: _Grown, keep: np.ndarray, num_sequences: int) -> Tree:
    """The kept nodes, depth first and without the root."""
    end, first = np.array(grown.end), np.array(grown.first)
    parent, source = np.array(grown.parent), np.array(grown.source)
    keep[0] = False
    order = np.lexsort((end, first))
    order = order[keep[order]]
    place = np.full(len(end), -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    leaf = np.array([place[grown.ends_at[i]] for i in range(num_sequences)], dtype=np.int64)
    return Tree(place[parent[order]], end[parent[order]], end[order], source[order], leaf)
