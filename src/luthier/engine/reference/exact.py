"""What transformers rounds to float32 inside a float64 model, replaced: RMS norms, and eager attention with capped scores.

One decision: nothing else is changed, and only in float64, where a comparison would otherwise mean nothing. The attention
is registered under its own name, as transformers' attention interface asks; torch's own kernel serves where no cap is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

EXACT = "luthier_exact"


class _OneBasedRMSNorm(torch.nn.Module):
    """Gemma's norm: multiplies by 1 + weight."""

    def __init__(self, weight: torch.nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, self.weight.shape, 1 + self.weight, self.eps)


def exact_norms(model: Any) -> None:
    """Put torch's own RMS norm, over the same parameters, in the place of transformers' in a float64 model."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            kind = type(child).__name__
            if not kind.endswith("RMSNorm"):
                continue
            if kind.startswith("Gemma"):
                setattr(parent, name, _OneBasedRMSNorm(child.weight, child.eps))
            elif hasattr(child, "variance_epsilon"):
                norm = torch.nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon, dtype=child.weight.dtype)
                norm.weight = child.weight
                setattr(parent, name, norm)


def attention_name(folder: Path, dtype: torch.dtype) -> str:
    """The attention that the reference asks transformers for. Raises ValueError or OSError for a config it cannot read."""
    if dtype != torch.float64:
        return "eager"
    from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig
    from transformers.masking_utils import eager_mask

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if getattr(config, "attn_logit_softcapping", None) is None:
        return "sdpa"
    AttentionInterface.register(EXACT, _capped_attention)
    AttentionMaskInterface.register(EXACT, eager_mask)
    return EXACT


def _capped_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, **settings: Any
) -> tuple[torch.Tensor, None]:
    """transformers' eager attention without its float32 softmax. query: [1, heads, N, head_dim]; returns [1, N, heads, head_dim]."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores, cap = query @ key.transpose(2, 3) * settings["scaling"], settings.get("softcap")
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    if attention_mask is not None:
        scores = scores + attention_mask
    return (torch.softmax(scores, -1) @ value).transpose(1, 2), None
