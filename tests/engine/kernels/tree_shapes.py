"""Trees of nodes (first row, end row, last descendant's end) and rules of scores that the attention kernels are tried on."""

from __future__ import annotations

import numpy as np

from luthier.engine.kernels.dense import Rule

HEADS, KV_HEADS, DIM = 6, 2, 16
NODES = {
    "one": [(0, 7, 7)],
    "chain of branches": [(0, 70, 210), (70, 75, 75), (75, 76, 76), (76, 180, 205), (180, 186, 186), (186, 205, 205), (205, 210, 210)],
    "forest": [(0, 5, 11), (5, 8, 8), (8, 11, 11), (11, 140, 140), (140, 141, 141), (141, 146, 146)],
}


def orchard() -> list[tuple[int, int, int]]:
    """Six trees of three levels of small nodes, all of other sizes: rectangles that are computed together."""
    nodes, at = [], 0
    for tree in range(6):
        own: list[list[int]] = [[at, at + 9 + 3 * tree, 0]]
        at = own[0][1]
        for inner in range(2):
            own.append([at, at + 3 + tree + inner, 0])
            at = own[-1][1]
            middle = own[-1]
            for leaf in range(2):
                own.append([at, at + 1 + (tree + leaf) % 4, 0])
                at = own[-1][2] = own[-1][1]
            middle[2] = at
        own[0][2] = at
        nodes += [(a, b, c) for a, b, c in own]
    return nodes


NODES["orchard"] = orchard()


def depths(nodes: list[tuple[int, int, int]]) -> np.ndarray:
    """Depth of each row: a node begins one below the end of the deepest node that holds it."""
    out = np.zeros(max(n[2] for n in nodes), dtype=np.int64)
    for i, (start, end, _) in enumerate(nodes):
        above = [n for n in nodes[:i] if n[2] > start]
        first = out[above[-1][1] - 1] + 1 if above else 0
        out[start:end] = np.arange(first, first + end - start)
    return out


RULES = {
    "plain": Rule(),
    "scaled": Rule(0.4),
    "capped": Rule(0.5, cap=1.5),
    "window": Rule(window=30),
    "tight window": Rule(window=1),
    "far window": Rule(window=500),
    "all": Rule(0.3, 2.0, 40),
}
