"""RMS norm and rotary embedding, forward and backward by hand.

One decision: rotary angles are computed in float32 whatever the dtype of the model, as transformers does,
so that a float64 run rotates by bit-equal angles.
"""

from __future__ import annotations

import torch


def rms_scale(x: torch.Tensor, eps: float) -> torch.Tensor:
    """1 / sqrt(mean(x^2) + eps) over the last axis, kept as size 1 (RMSNorm, arXiv:1910.07467)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def rms_apply(x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x * scale * weight."""
    return (x * scale).mul_(weight)


def rms_backward(d_y: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Gradient of x, for a frozen weight: scale * (g - xhat * mean(g * xhat)), g = d_y * weight, xhat = x * scale."""
    g = d_y * weight
    inner = torch.linalg.vecdot(g, x).unsqueeze(-1).mul_(scale.square()).div_(x.shape[-1])
    return g.sub_(x * inner).mul_(scale)


def rotary_angles(
    inverse_frequency: torch.Tensor, positions: torch.Tensor, dtype: torch.dtype, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin, [T, 1, rotated / 2], of float32 angles, times `scale`."""
    angle = positions.to(torch.float32)[:, None, None] * inverse_frequency.to(torch.float32)
    return (angle.cos() * scale).to(dtype), (angle.sin() * scale).to(dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding in halves layout (arXiv:2104.09864 as in Llama): x is [T, heads, head_dim]; returns a new tensor.

    The first 2 x cos.shape[-1] of a head are rotated, the rest is passed on.
    """
    half = cos.shape[-1]
    a, b = x[..., :half], x[..., half : 2 * half]
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    torch.mul(a, cos, out=out[..., :half]).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=out[..., half : 2 * half]).addcmul_(a, sin)
    if 2 * half < x.shape[-1]:
        out[..., 2 * half :] = x[..., 2 * half :]
    return out


def rotate_backward(d_y: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The transposed rotation."""
    return rotate(d_y, cos, -sin)
