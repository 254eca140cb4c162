"""The products of a linear group: forward, the gradient of its input, and the gradients of its adapters.

One decision: a product returns values in the dtype of its weight. In float32 and float64 that is the dtype of everything
else; with weights in bfloat16 both operands are rounded to it, the adapters' A and B included (their gradients are not).
"""

from __future__ import annotations

import torch

from luthier.engine.fast.linear import Linear, LowAdapters
from luthier.engine.fast.noisy import add_dropped, dropped, dropped_gradients
from luthier.engine.kernels.product import multiply
from luthier.engine.noise import TokenNoise


def project(linear: Linear, x: torch.Tensor, noise: TokenNoise | None = None) -> torch.Tensor:
    """x @ (weight + adapters).T + bias, under dropout of the adapters' input where there is noise."""
    if linear.merged:
        return add_dropped(linear, x, multiply(x, linear.weight, linear.bias, linear.packed), noise)
    low = x.to(linear.weight.dtype)
    y = low @ linear.weight.t()
    if linear.low is not None:
        y.addmm_(low @ linear.low.a.t(), linear.low.b.t())
    return add_dropped(linear, x, y if linear.bias is None else y.add_(linear.bias), noise)


def project_onto(
    residual: torch.Tensor, linear: Linear, x: torch.Tensor, noise: TokenNoise | None = None, branch: str = ""
) -> torch.Tensor:
    """residual + x @ (weight + adapters).T + bias in the dtype of `residual`; under dropout where there is noise."""
    if linear.merged and noise is None:
        if linear.packed is not None:
            return multiply(x, linear.weight, linear.bias, linear.packed).add_(residual)
        out = torch.addmm(residual, x, linear.weight.t())
        return out if linear.bias is None else out.add_(linear.bias)
    return residual + dropped(project(linear, x, noise), noise, branch)


def project_back(linear: Linear, d_y: torch.Tensor) -> torch.Tensor:
    """d_y @ (weight + adapters): the gradient of the input."""
    if linear.merged:
        return d_y @ linear.weight
    d_y = d_y.to(linear.weight.dtype)
    d_x = d_y @ linear.weight
    return d_x if linear.low is None else d_x.addmm_(d_y @ linear.low.b, linear.low.a)


def adapter_gradients(
    linear: Linear, x: torch.Tensor, d_y: torch.Tensor, d_x: torch.Tensor | None = None, noise: TokenNoise | None = None
) -> None:
    """dB += s dY^T (X A^T) and dA += s (dY B)^T X for each adapter of a group (x: [T, in], d_y: [T, out]).

    d_x: what `project_back` gave, to which dropout of the adapters' input adds, in place; None where it is not needed.
    """
    for part in linear.dense:
        part.accumulate(x, d_y)
    if noise is not None and noise.rates.lora:
        dropped_gradients(linear, x, d_y, noise, d_x)
        return
    if linear.low is not None:
        _low_gradients(linear, linear.low, x.to(linear.low.a.dtype), d_y.to(linear.low.a.dtype))
        return
    if not linear.adapters:
        return
    ranks = [len(adapter.a) for adapter in linear.adapters]
    xa = x @ torch.cat([adapter.a.detach() for adapter in linear.adapters]).t()
    d_xa = torch.empty_like(xa)
    for adapter, xa_part, d_part in zip(linear.adapters, xa.split(ranks, 1), d_xa.split(ranks, 1), strict=True):
        d_columns = d_y[:, adapter.columns]
        torch.mm(d_columns, adapter.b.detach()[adapter.rows], out=d_part)
        assert adapter.b.grad is not None
        adapter.b.grad[adapter.rows].addmm_(d_columns.t(), xa_part, alpha=adapter.scale)
    d_a = d_xa.t() @ x
    for adapter, part in zip(linear.adapters, d_a.split(ranks, 0), strict=True):
        assert adapter.a.grad is not None
        adapter.a.grad.add_(part, alpha=adapter.scale)


def _low_gradients(linear: Linear, low: LowAdapters, x: torch.Tensor, d_y: torch.Tensor) -> None:
    """The same from operands in bfloat16, all adapters of the group in one product; `low.b` carries the scale."""
    ranks = [len(adapter.a) for adapter in linear.adapters]
    d_a, d_b = (d_y @ low.b).t() @ x, d_y.t() @ (x @ low.a.t())
    for adapter, of_a, of_b in zip(linear.adapters, d_a.split(ranks, 0), d_b.split(ranks, 1), strict=True):
        assert adapter.a.grad is not None
        assert adapter.b.grad is not None
        adapter.a.grad.add_(of_a)
        adapter.b.grad[adapter.rows].add_(of_b[adapter.columns], alpha=adapter.scale)
