"""The slow twin of `choose`: the whole distribution of one step in float64, then one draw from it.

One decision: each change of the distribution is written as transformers' logits processors and warpers are, in
their order, over the whole vocabulary; nothing is left out because it cannot matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from luthier.engine.contract import Sampling


def penalised(logits: torch.Tensor, seen: Sequence[np.ndarray], penalty: float) -> torch.Tensor:
    """Positive logits of seen tokens divided by `penalty`, negative ones multiplied (CTRL, arXiv:1909.05858).

    logits: [n, vocabulary]; seen: token ids per row, int64. Returns a new tensor.
    """
    out = logits.clone()
    for row, ids in zip(out, seen, strict=True):
        at = torch.from_numpy(ids)
        row[at] = torch.where(row[at] < 0, row[at] * penalty, row[at] / penalty)
    return out


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Float64 [n, vocabulary]: softmax after temperature, top k, top p and min p.

    top k keeps ties with the k-th. top p keeps the most likely tokens until their mass reaches it; of equal tokens the one
    with the larger id counts as more likely. min p drops tokens less likely than min_p times the most likely one.
    """
    scores = logits.double() / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        least = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    probs = scores.softmax(-1)
    if sampling.top_p < 1.0:
        ordered, at = probs.sort(dim=-1, stable=True)
        dropped = ordered.cumsum(-1) <= 1.0 - sampling.top_p
        dropped[:, -1] = False
        probs = torch.zeros_like(probs).scatter_(-1, at, ordered.masked_fill(dropped, 0.0))
        probs = probs / probs.sum(-1, keepdim=True)
    if sampling.min_p > 0.0:
        probs = probs.masked_fill(probs < sampling.min_p * probs.amax(-1, keepdim=True), 0.0)
    return probs / probs.sum(-1, keepdim=True)


def choose_plain(logits: torch.Tensor, sampling: Sampling, uniforms: Sequence[float]) -> torch.Tensor:
    """The next token of each row: the largest logit, or the inverse of the cumulative distribution. Returns int64 [n].

    uniforms: one draw in [0, 1) per row (not read by greedy decoding).
    """
    if sampling.temperature == 0.0:
        return logits.argmax(-1)
    cumulative = probabilities(logits, sampling).cumsum(-1)
    draws = torch.tensor(uniforms, dtype=torch.float64)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, draws, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)
