"""Attention pieces with written-out scores: for a cap on the scores or a window, which no flash kernel of the CPU takes.

One decision: a piece answers as the flash kernel does (output and log-sum-exp; a backward from the *global* output and
log-sum-exp), so pieces of both kinds merge alike. Scores exist for a bounded chunk of query rows at a time, and only for
the keys that some row of the chunk sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from luthier.engine.kernels.chunks import SCORES

Positions = tuple[torch.Tensor, torch.Tensor]
"""Depths of queries [..., Tq] and keys [..., Tk]: a query sees the keys no deeper than itself, and fewer than `window` above."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How scores are formed. scale: of q k^T, None for 1/sqrt(head_dim); cap: scores become cap * tanh(scores / cap);

    window: a token sees this many tokens, itself included; None for all.
    """

    scale: float | None = None
    cap: float | None = None
    window: int | None = None


def dense_forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rule: Rule, positions: Positions | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """q: [B, heads, Tq, dim]; k, v: [B, kv_heads, Tk, dim]; positions: None for a causal square.

    Returns out as q, lse [B, heads, Tq]; a row that sees nothing has output 0 and lse -inf.
    """
    out, lse = torch.zeros_like(q), q.new_full(q.shape[:3], float("-inf"))
    for rows, keys, hidden in _chunks(q, k, rule, positions):
        scores, _ = _scores(q[:, :, rows], k[:, :, keys], rule, hidden)
        total = scores.logsumexp(-1, keepdim=True)
        weights = scores.sub_(total.masked_fill(total == float("-inf"), 0.0)).exp_()
        out[:, :, rows] = _ungroup(_group(weights, k) @ v[:, :, keys], q)
        lse[:, :, rows] = total[..., 0]
    return out, lse


def dense_backward(
    grads: tuple[torch.Tensor, torch.Tensor],
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    lse: torch.Tensor,
    rule: Rule,
    positions: Positions | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k, v. grads: of the output, and the output itself, [B, heads, Tq, dim]; lse: global, [B, heads, Tq]."""
    (d_out, out), (q, k, v) = grads, qkv
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    scale = _scale(q, rule)
    for rows, keys, hidden in _chunks(q, k, rule, positions):
        scores, slope = _scores(q[:, :, rows], k[:, :, keys], rule, hidden)
        weights = _group(scores.sub_(lse[:, :, rows, None]).exp_(), k)
        d_rows = _group(d_out[:, :, rows], k)
        dv[:, :, keys] += weights.transpose(-1, -2) @ d_rows
        delta = (d_out[:, :, rows] * out[:, :, rows]).sum(-1, keepdim=True)
        d_scores = weights.mul_((d_rows @ v[:, :, keys].transpose(-1, -2)).sub_(_group(delta, k))).mul_(scale)
        if slope is not None:
            d_scores.mul_(_group(slope, k))
        dq[:, :, rows] = _ungroup(d_scores @ k[:, :, keys], q)
        dk[:, :, keys] += d_scores.transpose(-1, -2) @ _group(q[:, :, rows], k)
    return dq, dk, dv


def _scale(q: torch.Tensor, rule: Rule) -> float:
    return q.shape[-1] ** -0.5 if rule.scale is None else rule.scale


def _scores(q: torch.Tensor, k: torch.Tensor, rule: Rule, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scores [B, heads, Tq, Tk], -inf where `hidden`, and the slope of the cap where there is one."""
    scores = _ungroup(_group(q, k) @ k.transpose(-1, -2), q).mul_(_scale(q, rule))
    slope = None
    if rule.cap is not None:
        bent = scores.div_(rule.cap).tanh_()
        slope = 1 - bent.square()
        scores = bent.mul_(rule.cap)
    return scores.masked_fill_(hidden, float("-inf")), slope


def _chunks(q: torch.Tensor, k: torch.Tensor, rule: Rule, positions: Positions | None) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Query rows, the keys that some of them see, and which of those are hidden, [..., rows, keys]."""
    at_q, at_k = positions or (torch.arange(q.shape[2]), torch.arange(k.shape[2]))
    size = max(1, SCORES // (q.shape[0] * q.shape[1] * max(1, k.shape[2])))
    for first in range(0, q.shape[2], size):
        rows = slice(first, min(first + size, q.shape[2]))
        gap = at_q[..., rows, None] - at_k[..., None, :]
        seen = gap >= 0
        if rule.window is not None:
            seen &= gap < rule.window
        some = torch.nonzero(seen.flatten(0, -2).any(0))
        if len(some):
            keys = slice(int(some[0]), int(some[-1]) + 1)
            hidden = ~seen[..., keys]
            yield rows, keys, hidden if hidden.dim() == 2 else hidden[:, None]


def _group(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """[B, heads, T, n] with the query heads of one key head as so many more rows: [B, kv_heads, heads / kv_heads x T, n]."""
    return x.reshape(x.shape[0], k.shape[1], -1, x.shape[-1])


def _ungroup(x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return x.view(q.shape[0], q.shape[1], -1, x.shape[-1])
