"""Q4_K of GGUF: weights in super-blocks of 256, eight sub-blocks of 32 with a scale and a minimum of 6 bits each, 4 bits a weight.

One decision: as llama.cpp does, each sub-block takes, of 21 steps near range / 15, the scale and minimum of least squares that
lose least, so the error is never above that of plain rounding; the layout is ggml's `block_q4_K` (ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SUPER = 256
"""Weights of a super-block: a row must be a multiple of it."""
_SUB = 32
_LEVELS = 15
_STEPS = 63
_TRIED = 21
_AT_ONCE = 4096
"""Super-blocks that are worked on together."""


def quantise(values: np.ndarray) -> np.ndarray:
    """float32 [..., n] -> uint8 [..., n / 256 * 144], n a multiple of 256 (ValueError otherwise)."""
    import numpy as np

    if values.shape[-1] % SUPER:
        raise ValueError(f"a row must be a multiple of {SUPER}, got {values.shape[-1]}")
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, SUPER)
    packed = [_super_blocks(blocks[at : at + _AT_ONCE]) for at in range(0, len(blocks), _AT_ONCE)]
    return np.concatenate(packed).reshape(*values.shape[:-1], -1)


def _super_blocks(blocks: np.ndarray) -> np.ndarray:
    """float32 [N, 256] -> uint8 [N, 144]: d and dmin as float16, 12 bytes of 6-bit scales and minima, 128 bytes of levels."""
    import numpy as np

    x = blocks.reshape(-1, SUPER // _SUB, _SUB)
    scale, least = _fitted(x)
    d, scales = _in_six_bits(scale)
    dmin, minima = _in_six_bits(least)
    step = d.astype(np.float32) * scales
    offset = dmin.astype(np.float32) * minima
    safe = np.where(step > 0, step, 1.0)
    levels = np.where(step[..., None] > 0, np.rint((x + offset[..., None]) / safe[..., None]), 0.0).clip(0, _LEVELS).astype(np.uint8)
    low, high = levels[:, 0::2], levels[:, 1::2]
    return np.concatenate([d.view(np.uint8), dmin.view(np.uint8), _packed(scales, minima), (low | high << 4).reshape(len(x), -1)], axis=1)


def _in_six_bits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, 8] >= 0 as float16 [N, 1] times uint8 [N, 8] of at most 63."""
    import numpy as np

    unit = (values.max(1, keepdims=True) / _STEPS).astype(np.float16)
    safe = np.where(unit > 0, unit, 1).astype(np.float32)
    return unit, np.where(unit > 0, np.rint(values / safe), 0).clip(0, _STEPS).astype(np.uint8)


def _packed(scales: np.ndarray, minima: np.ndarray) -> np.ndarray:
    """uint8 [N, 12]: the low six bits of the first four of each, then the low four of the others with their high two above the first."""
    import numpy as np

    first = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    second = minima[:, :4] | (minima[:, 4:] >> 4) << 6
    return np.concatenate([first, second, (scales[:, 4:] & 15) | (minima[:, 4:] & 15) << 4], axis=1)


def _fitted(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scale and the minimum (as the positive number that is taken away) of each sub-block [N, 8, 32] that lose least.

    The loss is the sum of (root mean square + |w|) * error^2, as in ggml's `make_qkx2_quants`.
    """
    import numpy as np

    weight = np.sqrt((x**2).mean(-1, keepdims=True)) + np.abs(x)
    low, high = np.minimum(x.min(-1), 0.0), x.max(-1)
    width = np.maximum(high - low, 0.0)
    scale, offset = width / _LEVELS, low
    best = _lost(x, weight, scale, offset)
    safe = np.where(width > 0, width, 1.0)
    for i in range(_TRIED):
        inverse = (_LEVELS - 1 + 0.1 * i) / safe
        levels = np.rint((x - low[..., None]) * inverse[..., None]).clip(0, _LEVELS)
        tried = _least_squares(x, weight, levels)
        lost = _lost(x, weight, *tried)
        better = (lost < best) & (width > 0) & (tried[0] > 0)
        scale, offset, best = (np.where(better, new, old) for new, old in ((tried[0], scale), (tried[1], offset), (lost, best)))
    return scale.astype(np.float32), (-offset).astype(np.float32)


def _least_squares(x: np.ndarray, weight: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset <= 0 with the least weighted square error of scale * levels + offset, [N, 8] each."""
    import numpy as np

    total, of_level, of_square = weight.sum(-1), (weight * levels).sum(-1), (weight * levels**2).sum(-1)
    of_x, of_both = (weight * x).sum(-1), (weight * x * levels).sum(-1)
    determinant = total * of_square - of_level**2
    safe = np.where(determinant > 0, determinant, 1.0)
    scale = np.where(determinant > 0, (total * of_both - of_x * of_level) / safe, 0.0)
    offset = np.where(determinant > 0, (of_square * of_x - of_level * of_both) / safe, 0.0)
    through_zero = np.where(of_square > 0, of_both / np.where(of_square > 0, of_square, 1.0), 0.0)
    return np.where(offset > 0, through_zero, scale), np.minimum(offset, 0.0)


def _lost(x: np.ndarray, weight: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The weighted square error of each sub-block when its levels are rounded anew, [N, 8]."""
    import numpy as np

    safe = np.where(scale > 0, scale, 1.0)[..., None]
    levels = np.rint((x - offset[..., None]) / safe).clip(0, _LEVELS)
    return (weight * (scale[..., None] * levels + offset[..., None] - x) ** 2).sum(-1)
