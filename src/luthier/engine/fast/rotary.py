"""Rotary frequencies of a layer, as transformers computes them: `default`, `linear`, `llama3`, and `longrope` in its short range.

One decision: a scheme whose frequencies depend on how long the whole sequence is (dynamic, yarn, longrope beyond its
original length) is refused, because then a shared prefix would not be the same for all that share it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from luthier.core.errors import EngineRefused
from luthier.core.execution import OTHER_ENGINES

Parameters = Mapping[str, Any]


def frequencies(rope: Parameters, head_dim: int, where: str) -> tuple[float, ...]:
    """Float32 values [rotated / 2], with rotated = head_dim x partial_rotary_factor. Raises EngineRefused."""
    kind = rope.get("rope_type", "default")
    if kind not in ("default", "linear", "llama3", "longrope"):
        raise EngineRefused("the fast engine does not compute this model", f"rope_type={kind!r}", where, OTHER_ENGINES)
    rotated = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    exponent = torch.arange(0, rotated, 2, dtype=torch.int64).float() / rotated
    base = rope.get("rope_theta", 10000.0)
    if kind == "longrope":
        return tuple((1.0 / (torch.tensor(rope["short_factor"], dtype=torch.float32) * base**exponent)).tolist())
    inverse = 1.0 / (base**exponent)
    if kind == "linear":
        inverse = inverse / rope["factor"]
    if kind == "llama3":
        inverse = _llama3(inverse, rope)
    return tuple(inverse.tolist())


def amplitude(rope: Parameters, longest: int) -> float:
    """What cos and sin are multiplied by: 1, or longrope's attention factor (arXiv:2402.13753). longest: positions the model claims."""
    if rope.get("rope_type", "default") != "longrope":
        return 1.0
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    original = rope["original_max_position_embeddings"]
    factor = rope["factor"] if rope.get("factor") is not None else longest / original
    return 1.0 if factor <= 1.0 else math.sqrt(1 + math.log(factor) / math.log(original))


def reach(rope: Parameters, longest: int) -> int:
    """Positions for which one set of frequencies holds."""
    if rope.get("rope_type", "default") != "longrope":
        return longest
    return min(longest, int(rope["original_max_position_embeddings"]))


def _llama3(inverse: torch.Tensor, rope: Parameters) -> torch.Tensor:
    """Llama 3.1's scaling: long waves divided by `factor`, short ones kept, a smooth step between."""
    old, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
    wavelength = 2 * math.pi / inverse
    scaled = torch.where(wavelength > old / low, inverse / rope["factor"], inverse)
    smooth = (old / wavelength - low) / (high - low)
    between = (1 - smooth) * scaled / rope["factor"] + smooth * scaled
    middle = (wavelength >= old / high) & (wavelength <= old / low)
    return torch.where(middle, between, scaled)
