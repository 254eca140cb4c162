"""Initial values of trainable tensors.

One decision: they are drawn in float32 by a generator of their own for each name, so that the order of modules, the
precision and the engine never change a start.
"""

from __future__ import annotations

import hashlib

import torch


def generator_of(seed: int, name: str) -> torch.Generator:
    """The generator of one named tensor."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def uniform(shape: tuple[int, ...], bound: float, seed: int, name: str) -> torch.Tensor:
    """Uniform in [-bound, bound), float32."""
    return torch.rand(shape, generator=generator_of(seed, name)).mul_(2 * bound).sub_(bound)


def normal(shape: tuple[int, ...], deviation: float, seed: int, name: str) -> torch.Tensor:
    """Normal with mean 0, float32."""
    return torch.randn(shape, generator=generator_of(seed, name)).mul_(deviation)
