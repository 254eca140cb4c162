"""Which pieces of attention a pack needs: causal squares (a node with itself) and rectangles (descendants x node).

One decision: only needed query rows take part. A layer that must give few rows (the last one) computes, in
each node, the rows from the first needed one to the node's end, against all keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

_SMALL = 96
"""Squares of at most this many rows are batched in one call, padded at the end (exact: a causal row never sees later keys).

Rectangles of at most this many queries and keys are too, those of one depth of the tree, which share no query and no key.
"""
Span = tuple[int, int, int, int]
"""Queries q0..q1 and keys k0..k1, the ends exclusive."""


@dataclass(frozen=True, slots=True, eq=False)
class SquareGroup:
    """Causal squares of one call: either one `span` (q0, q1, k0, k1), or rows [B, M] padded where `real` is False."""

    span: Span | None = None
    q_rows: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    k_rows: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    real: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))


@dataclass(frozen=True, slots=True, eq=False)
class RectangleGroup:
    """Rectangles of one call: several `spans`, with rows [B, Mq] and keys [B, Mk] padded where `real` and `real_keys` are False.

    A single span needs none of these and has None.
    """

    spans: tuple[Span, ...]
    q_rows: torch.Tensor | None = None
    k_rows: torch.Tensor | None = None
    real: torch.Tensor | None = None
    real_keys: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AttentionPlan:
    """squares: each query row is in exactly one. rectangles: every query sees every key.

    rows: int64 [Tq], the pack rows that are queries, ascending; None when all are.
    positions: int64 [T], the depth of each row of the pack; deepest: the largest.
    """

    squares: tuple[SquareGroup, ...]
    rectangles: tuple[RectangleGroup, ...]
    rows: torch.Tensor | None
    positions: torch.Tensor
    deepest: int

    @property
    def query_positions(self) -> torch.Tensor:
        """int64 [Tq]."""
        return self.positions if self.rows is None else self.positions[self.rows]


def plan_attention(nodes: np.ndarray, positions: np.ndarray, needed: np.ndarray | None = None) -> AttentionPlan:
    """Pieces for the nodes of a pack ([N, 3]: first row, end row, last descendant's end), in depth-first order.

    positions: depth of each row. needed: pack rows whose output is wanted, ascending; None for all rows.
    """
    first_query = nodes[:, 0].copy()
    if needed is not None:
        at = np.searchsorted(needed, nodes[:, 0])
        found = (at < len(needed)) & (needed[np.minimum(at, len(needed) - 1)] < nodes[:, 1])
        first_query = np.where(found, needed[np.minimum(at, len(needed) - 1)], nodes[:, 1])
    lengths = nodes[:, 1] - first_query
    q0 = np.concatenate([[0], np.cumsum(lengths)])
    rectangles: list[tuple[int, Span]] = []
    open_ends: list[int] = []
    for i, (start, end, last) in enumerate(nodes.tolist()):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        depth = len(open_ends)
        open_ends.append(last)
        below = int(np.searchsorted(nodes[:, 0], last))  # descendants are the nodes that start before `last`
        if q0[below] > q0[i + 1]:
            rectangles.append((2 * depth, (int(q0[i + 1]), int(q0[below]), start, end)))
        if lengths[i] and first_query[i] > start:
            rectangles.append((2 * depth + 1, (int(q0[i]), int(q0[i + 1]), start, int(first_query[i]))))
    rows = None
    if needed is not None:
        rows = torch.from_numpy(np.concatenate([np.arange(a, b) for a, b in zip(first_query, nodes[:, 1], strict=True)]))
    squares = _squares(q0[:-1], first_query, lengths)
    return AttentionPlan(squares, _rectangles(rectangles), rows, torch.from_numpy(positions), int(positions.max()))


def _squares(q0: np.ndarray, k0: np.ndarray, lengths: np.ndarray) -> tuple[SquareGroup, ...]:
    """Batch small squares of similar length (padding at most a third); larger ones stand alone."""
    order = [int(i) for i in np.argsort(-lengths, kind="stable") if lengths[i] > 0]
    groups: list[list[int]] = []
    for i in order:
        head = groups[-1][0] if groups else -1
        if groups and lengths[head] <= _SMALL and 3 * lengths[i] >= lengths[head]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return tuple(_group(members, q0, k0, lengths) for members in groups)


def _group(members: list[int], q0: np.ndarray, k0: np.ndarray, lengths: np.ndarray) -> SquareGroup:
    if len(members) == 1:
        i = members[0]
        n = int(lengths[i])
        return SquareGroup(span=(int(q0[i]), int(q0[i]) + n, int(k0[i]), int(k0[i]) + n))
    chosen = np.array(members)
    q_rows, real = _padded(q0[chosen], lengths[chosen])
    return SquareGroup(q_rows=q_rows, k_rows=_padded(k0[chosen], lengths[chosen])[0], real=real)


def _padded(first: np.ndarray, lengths: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows first..first + length of each member, padded with its last row, [B, M]; and which of them are real."""
    steps = np.arange(lengths.max())[None]
    rows = first[:, None] + np.minimum(steps, lengths[:, None] - 1)
    return torch.from_numpy(rows), torch.from_numpy(steps < lengths[:, None])


def _rectangles(found: list[tuple[int, Span]]) -> tuple[RectangleGroup, ...]:
    """Batch small rectangles that share no row, both sides padded to less than twice their size; larger ones stand alone.

    found: (class, span), where the spans of one class share no query and no key.
    """
    groups: dict[tuple[int, int, int], list[Span]] = {}
    alone: list[RectangleGroup] = []
    for kind, (q0, q1, k0, k1) in found:
        if max(q1 - q0, k1 - k0) > _SMALL:
            alone.append(RectangleGroup(((q0, q1, k0, k1),)))
        else:
            groups.setdefault((kind, (q1 - q0).bit_length(), (k1 - k0).bit_length()), []).append((q0, q1, k0, k1))
    return (*alone, *(_rectangle_group(spans) for spans in groups.values()))


def _rectangle_group(spans: list[Span]) -> RectangleGroup:
    if len(spans) == 1:
        return RectangleGroup(tuple(spans))
    edges = np.array(spans, dtype=np.int64)
    q_rows, real = _padded(edges[:, 0], edges[:, 1] - edges[:, 0])
    k_rows, real_keys = _padded(edges[:, 2], edges[:, 3] - edges[:, 2])
    return RectangleGroup(tuple(spans), q_rows, k_rows, real, real_keys)
