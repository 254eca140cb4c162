"""Attention over a prefix tree from stock pieces, without a dense mask.

One decision: every row's softmax is cut into pieces (its own node, then each ancestor), each computed by the
CPU flash kernel and merged by log-sum-exp; the backward of each piece is called with the *global* output and
log-sum-exp, which makes it exact. See FlashAttention-2 (arXiv:2307.08691), section 3.1, for both identities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from luthier.engine.kernels.segments import AttentionPlan, SquareGroup

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

_NOWHERE = 1e30
"""Log-sum-exp of padding rows: makes their probabilities, and so their gradients, exactly zero."""


@dataclass(slots=True)
class Attended:
    """out: [Tq, heads, head_dim]; lse: [Tq, heads], the log-sum-exp over everything a row sees."""

    out: torch.Tensor
    lse: torch.Tensor


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: AttentionPlan, prefix: tuple[torch.Tensor, torch.Tensor] | None = None
) -> Attended:
    """Attention of the plan's query rows.

    q: [Tq, heads, head_dim]; k, v: [Tk, kv_heads, head_dim]; prefix: keys and values [P, kv_heads, head_dim]
    that every query sees (already rotated). Scale is 1/sqrt(head_dim).
    """
    result = Attended(torch.empty_like(q), q.new_empty(q.shape[:2]))
    for square in plan.squares:
        _square_forward(result, q, k, v, square)
    for q0, q1, k0, k1 in plan.rectangles:
        _merge(result, slice(q0, q1), q, k[k0:k1], v[k0:k1])
    if prefix is not None:
        _merge(result, slice(0, len(q)), q, *prefix)
    return result


def _heads_first(x: torch.Tensor) -> torch.Tensor:
    """[T, heads, dim] or [B, T, heads, dim] as the kernel's [B, heads, T, dim], a view."""
    return (x if x.dim() == 4 else x[None]).transpose(1, 2)


def _square_forward(result: Attended, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, square: SquareGroup) -> None:
    if square.span is not None:
        rows, keys = slice(*square.span[:2]), slice(*square.span[2:])
        out, lse = _forward(_heads_first(q[rows]), _heads_first(k[keys]), _heads_first(v[keys]), 0.0, True)
        result.out[rows] = out[0].transpose(0, 1)
        result.lse[rows] = lse[0].transpose(0, 1)
        return
    out, lse = _forward(_heads_first(q[square.q_rows]), _heads_first(k[square.k_rows]), _heads_first(v[square.k_rows]), 0.0, True)
    result.out[square.q_rows[square.real]] = out.transpose(1, 2)[square.real]
    result.lse[square.q_rows[square.real]] = lse.transpose(1, 2)[square.real]


def _merge(result: Attended, rows: slice, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    out, lse = _forward(_heads_first(q[rows]), _heads_first(k), _heads_first(v), 0.0, False)
    lse = lse[0].transpose(0, 1)
    share = torch.sigmoid(lse - result.lse[rows])
    result.out[rows].lerp_(out[0].transpose(0, 1), share[..., None])
    result.lse[rows] = torch.logaddexp(result.lse[rows], lse)


def attend_backward(
    d_out: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, done: Attended, plan: AttentionPlan
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k, v given that of the output, [Tq, heads, head_dim]."""
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for square in plan.squares:
        if square.span is None:
            _group_backward(d_out, (q, k, v), done, square, (dq, dk, dv))
        else:
            _piece_backward(d_out, (q, k, v), done, square.span, True, (dq, dk, dv))
    for rectangle in plan.rectangles:
        _piece_backward(d_out, (q, k, v), done, rectangle, False, (dq, dk, dv))
    return dq, dk, dv


Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _piece_backward(d_out: torch.Tensor, qkv: Triple, done: Attended, span: tuple[int, int, int, int], causal: bool, grads: Triple) -> None:
    rows, keys = slice(*span[:2]), slice(*span[2:])
    q, k, v = (_heads_first(t) for t in (qkv[0][rows], qkv[1][keys], qkv[2][keys]))
    lse = done.lse[rows].transpose(0, 1)[None]
    pieces = _backward(_heads_first(d_out[rows]), q, k, v, _heads_first(done.out[rows]), lse, 0.0, causal)
    for grad, where, piece in zip(grads, (rows, keys, keys), pieces, strict=True):
        grad[where] += piece[0].transpose(0, 1)


def _group_backward(d_out: torch.Tensor, qkv: Triple, done: Attended, square: SquareGroup, grads: Triple) -> None:
    rows, keys, real = square.q_rows, square.k_rows, square.real
    d_piece = d_out[rows].masked_fill_(~real[..., None, None], 0.0)
    lse = done.lse[rows].masked_fill_(~real[..., None], _NOWHERE)
    q, k, v = (_heads_first(t) for t in (qkv[0][rows], qkv[1][keys], qkv[2][keys]))
    pieces = _backward(_heads_first(d_piece), q, k, v, _heads_first(done.out[rows]), lse.transpose(1, 2), 0.0, True)
    for grad, where, piece in zip(grads, (rows, keys, keys), pieces, strict=True):
        grad[where[real]] += piece.transpose(1, 2)[real]


def attend_cached(
    q: torch.Tensor, own: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, prefix: tuple[torch.Tensor, torch.Tensor] | None
) -> torch.Tensor:
    """One query per sequence over its own cached keys and a prefix that all share.

    q: [n, heads, head_dim]; own: keys, values [n, kv_heads, length, head_dim]; mask: [n, 1, 1, length], added;
    prefix: keys, values [P, kv_heads, head_dim]. Returns [n, heads, head_dim]. The query heads that share a key head are
    given to the kernel as so many queries of that head, so that each key is read once.
    """
    grouped = q.view(len(q), own[0].shape[1], -1, q.shape[2])
    out, lse = _forward(grouped, own[0], own[1], 0.0, False, attn_mask=mask)
    result = Attended(out.reshape(q.shape), lse.reshape(q.shape[:2]))
    if prefix is not None:
        _merge(result, slice(0, len(q)), q, *prefix)
    return result.out
