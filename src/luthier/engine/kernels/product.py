"""Products of few rows with a weight that was laid out for them, by oneDNN.

One decision: only decoding asks for this. MKL, which `torch.mm` calls on CPU, packs the weight anew for every call, so 64 rows run
at half the rate; oneDNN's float32 products of large shapes are faster too, but round 1.5 to 2 times as coarsely (docs/log.md), which
gradients and log-likelihoods do not pay for speed.
"""

from __future__ import annotations

import torch

_onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_LEAST = 1 << 16
"""Values of a weight from which a call of oneDNN costs less than it saves."""


def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, packed: torch.Tensor | None = None) -> torch.Tensor:
    """x @ weight.T + bias, [T, out]. x: [T, in]; weight: [out, in]; bias: [out]; packed: what `pack` made of the weight, or None."""
    if packed is None or not len(x):
        return torch.nn.functional.linear(x, weight, bias)
    assert _onednn is not None
    return _onednn(x, packed, bias, "none", [], "")


def pack(weight: torch.Tensor, rows: int) -> torch.Tensor | None:
    """A copy of a weight in the order in which products of about `rows` rows read it; None where that gains nothing."""
    if _onednn is None or weight.dtype != torch.float32 or weight.numel() < _LEAST:
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)
