"""Attention over a prefix tree from stock pieces, without a dense mask.

One decision: every row's softmax is cut into pieces (its own node, then each ancestor), each computed by the
CPU flash kernel and merged by log-sum-exp; the backward of each piece is called with the *global* output and
log-sum-exp, which makes it exact. See FlashAttention-2 (arXiv:2307.08691), section 3.1, for both identities.
Where scores are capped, or a window is shorter than the pack is deep, `kernels.dense` computes the same pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from luthier.engine.kernels.dense import Positions, Rule, dense_backward, dense_forward
from luthier.engine.kernels.segments import AttentionPlan, RectangleGroup, Span, SquareGroup

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

_NOWHERE = 1e30
"""Log-sum-exp of padding rows: makes their probabilities, and so their gradients, exactly zero."""


_SHORT = 128
"""Keys of a slot up to which a decoding step writes the scores out."""
PLAIN = Rule()
Pair = tuple[torch.Tensor, torch.Tensor]
Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(slots=True)
class Attended:
    """out: [Tq, heads, head_dim]; lse: [Tq, heads], the log-sum-exp over everything a row sees."""

    out: torch.Tensor
    lse: torch.Tensor


Given = tuple[torch.Tensor, Triple, Attended]
"""Gradient of the output, queries, keys and values, and what the forward pass gave."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Sequences under way. positions: int64 [n], depth of each query; mask: [n, 1, 1, length], added to scores of own keys."""

    positions: torch.Tensor
    mask: torch.Tensor
    deepest: int


@dataclass(frozen=True, slots=True)
class _Kernel:
    """One piece of attention, by the flash kernel, or with written-out scores where `dense`."""

    rule: Rule
    dense: bool

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, at: Positions | None) -> Pair:
        """q: [B, heads, Tq, dim]; k, v: [B, kv_heads, Tk, dim]; at: see `dense`; None in a causal square, unused by flash."""
        if self.dense:
            return dense_forward(q, k, v, self.rule, at)
        return _forward(q, k, v, 0.0, causal, scale=self.rule.scale)

    def backward(self, grads: Pair, qkv: Triple, lse: torch.Tensor, causal: bool, at: Positions | None) -> Triple:
        """grads: of the output, and the output itself."""
        if self.dense:
            return dense_backward(grads, qkv, lse, self.rule, at)
        return _backward(grads[0], *qkv, grads[1], lse, 0.0, causal, scale=self.rule.scale)

    def at(self, plan: AttentionPlan, rows: slice, keys: slice) -> Positions | None:
        """Depths of a rectangle's queries and keys."""
        return (plan.query_positions[rows], plan.positions[keys]) if self.dense else None


def _kernel(rule: Rule, deepest: int) -> _Kernel:
    """deepest: of the positions that take part; a window that none of them reaches cuts nothing."""
    return _Kernel(rule, rule.cap is not None or (rule.window is not None and deepest >= rule.window))


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: AttentionPlan, prefix: Pair | None = None, rule: Rule = PLAIN
) -> Attended:
    """Attention of the plan's query rows.

    q: [Tq, heads, head_dim]; k, v: [Tk, kv_heads, head_dim]; prefix: keys and values [P, kv_heads, head_dim] of the depths
    0..P-1, above every query (already rotated).
    """
    result = Attended(torch.empty_like(q), q.new_empty(q.shape[:2]))
    kernel = _kernel(rule, plan.deepest)
    for square in plan.squares:
        _square_forward(result, (q, k, v), square, kernel)
    for group in plan.rectangles:
        if group.q_rows is not None and not kernel.dense:
            _merge_group(result, (q, k, v), group, kernel.rule)
            continue
        for q0, q1, k0, k1 in group.spans:
            rows, keys = slice(q0, q1), slice(k0, k1)
            _merge(result, rows, (q, k[keys], v[keys]), kernel, kernel.at(plan, rows, keys))
    if prefix is not None:
        at = (plan.query_positions, torch.arange(len(prefix[0]))) if kernel.dense else None
        _merge(result, slice(0, len(q)), (q, *prefix), kernel, at)
    return result


def _heads_first(x: torch.Tensor) -> torch.Tensor:
    """[T, heads, dim] or [B, T, heads, dim] as the kernel's [B, heads, T, dim], a view."""
    return (x if x.dim() == 4 else x[None]).transpose(1, 2)


def _square_forward(result: Attended, qkv: Triple, square: SquareGroup, kernel: _Kernel) -> None:
    if square.span is not None:
        rows, keys = slice(*square.span[:2]), slice(*square.span[2:])
        q, k, v = (_heads_first(t) for t in (qkv[0][rows], qkv[1][keys], qkv[2][keys]))
        out, lse = kernel.forward(q, k, v, True, None)
        result.out[rows] = out[0].transpose(0, 1)
        result.lse[rows] = lse[0].transpose(0, 1)
        return
    q, k, v = (_heads_first(t) for t in (qkv[0][square.q_rows], qkv[1][square.k_rows], qkv[2][square.k_rows]))
    out, lse = kernel.forward(q, k, v, True, None)
    result.out[square.q_rows[square.real]] = out.transpose(1, 2)[square.real]
    result.lse[square.q_rows[square.real]] = lse.transpose(1, 2)[square.real]


def _merge(result: Attended, rows: slice, qkv: Triple, kernel: _Kernel, at: Positions | None) -> None:
    """Add a piece that the queries `rows` see whole, or as far as their window reaches."""
    q, k, v = (_heads_first(t) for t in (qkv[0][rows], qkv[1], qkv[2]))
    out, lse = kernel.forward(q, k, v, False, at)
    lse = lse[0].transpose(0, 1)
    share = torch.sigmoid(lse - result.lse[rows])
    result.out[rows].lerp_(out[0].transpose(0, 1), share[..., None])
    result.lse[rows] = torch.logaddexp(result.lse[rows], lse)


def _gathered(group: RectangleGroup, qkv: Triple) -> tuple[Triple, torch.Tensor]:
    """Heads-first q [B, heads, Mq, dim], k, v [B, kv_heads, Mk, dim] of a group, and what is added to scores of its keys."""
    assert group.q_rows is not None
    assert group.k_rows is not None
    assert group.real_keys is not None
    q, k, v = (_heads_first(t) for t in (qkv[0][group.q_rows], qkv[1][group.k_rows], qkv[2][group.k_rows]))
    mask = torch.zeros(group.real_keys.shape, dtype=q.dtype).masked_fill_(~group.real_keys, float("-inf"))
    return (q, k, v), mask[:, None, None]


def _merge_group(result: Attended, qkv: Triple, group: RectangleGroup, rule: Rule) -> None:
    """The same for several rectangles that share no query."""
    assert group.q_rows is not None
    assert group.real is not None
    (q, k, v), mask = _gathered(group, qkv)
    out, lse = _forward(q, k, v, 0.0, False, attn_mask=mask, scale=rule.scale)
    rows, out, lse = group.q_rows[group.real], out.transpose(1, 2)[group.real], lse.transpose(1, 2)[group.real]
    before = result.lse[rows]
    result.out[rows] = result.out[rows].lerp_(out, torch.sigmoid(lse - before)[..., None])
    result.lse[rows] = torch.logaddexp(before, lse)


def attend_backward(d_out: torch.Tensor, qkv: Triple, done: Attended, plan: AttentionPlan, rule: Rule = PLAIN) -> Triple:
    """Gradients of q, k, v given that of the output, [Tq, heads, head_dim]."""
    grads = (torch.zeros_like(qkv[0]), torch.zeros_like(qkv[1]), torch.zeros_like(qkv[2]))
    kernel = _kernel(rule, plan.deepest)
    for square in plan.squares:
        if square.span is None:
            _group_backward((d_out, qkv, done), square, kernel, grads)
        else:
            _piece_backward((d_out, qkv, done), square.span, kernel, None, grads)
    for group in plan.rectangles:
        if group.q_rows is not None and not kernel.dense:
            _rectangles_backward((d_out, qkv, done), group, kernel.rule, grads)
            continue
        for span in group.spans:
            _piece_backward((d_out, qkv, done), span, kernel, plan, grads)
    return grads


def _piece_backward(given: Given, span: Span, kernel: _Kernel, within: AttentionPlan | None, grads: Triple) -> None:
    """within: the plan that a rectangle is of; None for a causal square."""
    d_out, qkv, done = given
    rows, keys = slice(*span[:2]), slice(*span[2:])
    q, k, v = (_heads_first(t) for t in (qkv[0][rows], qkv[1][keys], qkv[2][keys]))
    lse = done.lse[rows].transpose(0, 1)[None]
    at = kernel.at(within, rows, keys) if within is not None else None
    pieces = kernel.backward((_heads_first(d_out[rows]), _heads_first(done.out[rows])), (q, k, v), lse, within is None, at)
    for grad, where, piece in zip(grads, (rows, keys, keys), pieces, strict=True):
        grad[where] += piece[0].transpose(0, 1)


def _padded_gradient(given: Given, rows: torch.Tensor, real: torch.Tensor) -> Triple:
    """Of padded query rows: gradient of the output, the output, and a log-sum-exp [B, heads, Mq] that lets the padding do nothing."""
    d_out, _, done = given
    d_piece = d_out[rows].masked_fill_(~real[..., None, None], 0.0)
    lse = done.lse[rows].masked_fill_(~real[..., None], _NOWHERE)
    return _heads_first(d_piece), _heads_first(done.out[rows]), lse.transpose(1, 2)


def _rectangles_backward(given: Given, group: RectangleGroup, rule: Rule, grads: Triple) -> None:
    assert group.q_rows is not None
    assert group.k_rows is not None
    assert group.real is not None
    assert group.real_keys is not None
    qkv, mask = _gathered(group, given[1])
    d_piece, out, lse = _padded_gradient(given, group.q_rows, group.real)
    pieces = _backward(d_piece, *qkv, out, lse, 0.0, False, attn_mask=mask, scale=rule.scale)
    keys = (group.k_rows, group.real_keys)
    for grad, (rows, real), piece in zip(grads, ((group.q_rows, group.real), keys, keys), pieces, strict=True):
        grad[rows[real]] += piece.transpose(1, 2)[real]


def _group_backward(given: Given, square: SquareGroup, kernel: _Kernel, grads: Triple) -> None:
    qkv = given[1]
    rows, keys, real = square.q_rows, square.k_rows, square.real
    d_piece, out, lse = _padded_gradient(given, rows, real)
    q, k, v = (_heads_first(t) for t in (qkv[0][rows], qkv[1][keys], qkv[2][keys]))
    pieces = kernel.backward((d_piece, out), (q, k, v), lse, True, None)
    for grad, where, piece in zip(grads, (rows, keys, keys), pieces, strict=True):
        grad[where[real]] += piece.transpose(1, 2)[real]


def _by_flash(q: torch.Tensor, own: Pair, mask: torch.Tensor, rule: Rule) -> Pair:
    """q: [n, kv_heads, queries, head_dim]; mask: [n, 1, 1, length]. Output as q, log-sum-exp [n, kv_heads, queries]."""
    return _forward(q, *own, 0.0, False, attn_mask=mask, scale=rule.scale)


def _written_out(q: torch.Tensor, own: Pair, mask: torch.Tensor, rule: Rule) -> Pair:
    """The same with scores in memory: faster than the flash kernel while keys are few (its work per head is then mostly overhead)."""
    scale = q.shape[-1] ** -0.5 if rule.scale is None else rule.scale
    scores = torch.matmul(q * scale, own[0].transpose(2, 3)).add_(mask)
    total = scores.logsumexp(-1, keepdim=True)
    return torch.matmul(scores.sub_(total).exp_(), own[1]), total[..., 0]


def attend_cached(q: torch.Tensor, own: Pair, slots: Slots, prefix: Pair | None, rule: Rule = PLAIN) -> torch.Tensor:
    """One query per sequence over its own cached keys and a prefix that all share.

    q: [n, heads, head_dim]; own: keys, values [n, kv_heads, length, head_dim]; prefix: keys, values [P, kv_heads, head_dim].
    Returns [n, heads, head_dim]. The query heads that share a key head are given to the flash kernel as so many queries of
    that head, so that each key is read once.
    """
    kernel = _kernel(rule, slots.deepest)
    if kernel.dense:
        skip = len(prefix[0]) if prefix is not None else 0
        at_q = slots.positions[:, None]
        out, lse = dense_forward(q[:, :, None], *own, rule, (at_q, skip + torch.arange(own[0].shape[2])[None].expand(len(q), -1)))
    else:
        grouped = q.view(len(q), own[0].shape[1], -1, q.shape[2])
        attend_to = _written_out if own[0].shape[2] <= _SHORT else _by_flash
        out, lse = attend_to(grouped, own, slots.mask, rule)
    result = Attended(out.reshape(q.shape), lse.reshape(q.shape[:2]))
    if prefix is not None:
        at = (slots.positions, torch.arange(len(prefix[0]))) if kernel.dense else None
        _merge(result, slice(0, len(q)), (q, *prefix), kernel, at)
    return result.out
