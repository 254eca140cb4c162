"""Which token comes next: greedy, or drawn after temperature, top-k and top-p.

One decision: each prompt draws from its own generator, keyed by (seed, prompt number), so the result does
not depend on how prompts were batched.
"""

from __future__ import annotations

import numpy as np
import torch

from luthier.engine.contract import Sampling


def choose(logits: torch.Tensor, sampling: Sampling, generators: list[np.random.Generator]) -> torch.Tensor:
    """logits: [n, vocabulary]; one generator per row. Returns int64 [n]."""
    if sampling.temperature == 0.0:
        return logits.argmax(-1)
    probs = probabilities(logits, sampling)
    cumulative = probs.cumsum(-1)
    draws = torch.tensor([g.random() for g in generators], dtype=torch.float64)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, draws, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Float64 [n, vocabulary]: softmax after temperature, then the top k, then the smallest set with mass >= top_p."""
    scores = logits.double() / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        least = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    probs = scores.softmax(-1)
    if sampling.top_p < 1.0:
        ordered, at = probs.sort(dim=-1, descending=True, stable=True)
        surplus = ordered.cumsum(-1) - ordered >= sampling.top_p
        surplus[:, 0] = False
        probs = torch.zeros_like(probs).scatter_(-1, at, ordered.masked_fill(surplus, 0.0))
    return probs / probs.sum(-1, keepdim=True)
