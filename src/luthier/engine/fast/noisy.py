"""A decoder layer under dropout: what is added to the plain products, and to their gradients.

One decision: the adapters stay merged into the weights. Dropout of an adapter's input turns s B A x into s B A (f x), with f
from `engine.noise`; so the forward pass adds s B A ((f - 1) x), some rows after the other, and evaluation needs no other weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from luthier.engine.fast.linear import Linear
from luthier.engine.noise import TokenNoise


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """The noise inside one layer: of all rows, and of the rows that are queries."""

    rows: TokenNoise
    queries: TokenNoise


def layer_noise(noise: TokenNoise | None, number: int, queries: torch.Tensor | None) -> LayerNoise | None:
    """queries: the rows that go on to q, o and the MLP, or None for all. None without dropout of any kind."""
    if noise is None or not (noise.rates.lora or noise.rates.dropout):
        return None
    every = noise.of_layer(number)
    return LayerNoise(every, every if queries is None else noise.of_layer(number, queries.numpy().astype(np.int64)))


def add_dropped(linear: Linear, x: torch.Tensor, y: torch.Tensor, noise: TokenNoise | None) -> torch.Tensor:
    """Turn y = (weight + adapters) x into what LoRA dropout gives, in place (x: [T, in], y: [T, out])."""
    if noise is None or not noise.rates.lora:
        return y
    for adapter in linear.adapters:
        a, b = adapter.a.detach(), adapter.b.detach()[adapter.rows]
        for rows, factor in noise.factors(noise.rates.lora, adapter.module, x.shape[1], a.dtype):
            xa = factor.sub_(1).mul_(x[rows]) @ a.t()
            y[rows, adapter.columns].add_(xa @ b.t(), alpha=adapter.scale)
    return y


def dropped_gradients(linear: Linear, x: torch.Tensor, d_y: torch.Tensor, noise: TokenNoise, d_x: torch.Tensor | None) -> None:
    """dB += s dY^T (f X) A^T, dA += s (dY B)^T (f X), and dX += s (dY B A) (f - 1), where d_x holds d_y @ (weight + adapters)."""
    for adapter in linear.adapters:
        assert adapter.a.grad is not None
        assert adapter.b.grad is not None
        a, b = adapter.a.detach(), adapter.b.detach()[adapter.rows]
        for rows, factor in noise.factors(noise.rates.lora, adapter.module, x.shape[1], a.dtype):
            kept, d_columns = factor * x[rows], d_y[rows, adapter.columns].to(a.dtype)
            d_xa = d_columns @ b
            adapter.a.grad.addmm_(d_xa.t(), kept, alpha=adapter.scale)
            adapter.b.grad[adapter.rows].addmm_(d_columns.t(), kept @ a.t(), alpha=adapter.scale)
            if d_x is not None:
                d_x[rows].add_((d_xa @ a).mul_(factor.sub_(1)), alpha=adapter.scale)


def dropped(x: torch.Tensor, noise: TokenNoise | None, place: str) -> torch.Tensor:
    """x [T, hidden] after dropout of the residual branch at `place`, or its gradient before it; x itself without dropout."""
    return x if noise is None or not noise.rates.dropout else noise.dropped(x, noise.rates.dropout, place)
