"""Which token comes next, for many sequences at once, without sorting or exponentiating more than is needed.

One decision: filters work on the few most likely tokens, and take more only while a filter could still keep a
token beyond them, so the kept set is exactly that of the slow twin (`plain`) at a fraction of its cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from luthier.engine.contract import Sampling

_FIRST_CANDIDATES = 256
_BLOCK = 256


def penalise(logits: torch.Tensor, seen: Sequence[np.ndarray], penalty: float) -> None:
    """`plain.penalised` in place, all rows at once."""
    rows = torch.from_numpy(np.repeat(np.arange(len(seen)), [len(ids) for ids in seen]))
    ids = torch.from_numpy(np.concatenate(seen))
    found = logits[rows, ids]
    logits[rows, ids] = torch.where(found < 0, found * penalty, found / penalty)


def choose(logits: torch.Tensor, sampling: Sampling, uniforms: Sequence[float]) -> torch.Tensor:
    """As `plain.choose_plain`: logits [n, vocabulary], one uniform per row; returns int64 [n]."""
    if sampling.temperature == 0.0:
        return logits.argmax(-1)
    draws = torch.tensor(uniforms, dtype=torch.float64)[:, None]
    if not _filters(sampling, logits.shape[-1]):
        return _draw_from_all(logits, sampling.temperature, draws)
    probs, ids = kept(logits, sampling)
    cumulative = probs.cumsum(-1)
    at = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True).clamp_(max=ids.shape[1] - 1)
    return ids.gather(1, at)[:, 0]


def _filters(sampling: Sampling, vocabulary: int) -> bool:
    return 0 < sampling.top_k < vocabulary or sampling.top_p < 1.0 or sampling.min_p > 0.0


def _draw_from_all(logits: torch.Tensor, temperature: float, draws: torch.Tensor) -> torch.Tensor:
    """Inverse of the cumulative distribution in two levels: the block of the vocabulary, then the token in it."""
    top = logits.amax(-1, keepdim=True)
    weight = torch.sub(logits, top).div_(temperature).exp_()
    weight = torch.nn.functional.pad(weight, (0, -weight.shape[1] % _BLOCK)).view(len(weight), -1, _BLOCK)
    cumulative = weight.sum(-1, dtype=torch.float64).cumsum(-1)
    wanted = draws * cumulative[:, -1:]
    block = torch.searchsorted(cumulative, wanted, right=True).clamp_(max=cumulative.shape[1] - 1)
    inside = weight[torch.arange(len(weight)), block[:, 0]].double().cumsum(-1)
    before = cumulative.gather(1, block) - inside[:, -1:]
    at = torch.searchsorted(inside, wanted - before, right=True).clamp_(max=_BLOCK - 1)
    return (block * _BLOCK + at)[:, 0].clamp_(max=logits.shape[1] - 1)


def kept(logits: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (float64, 0 for a dropped token) and ids (int64, ascending) of candidates, [n, M] each.

    Every token that the filters keep is a candidate; weights are proportional to the probabilities, row by row.
    """
    vocabulary = logits.shape[-1]
    if 0 < sampling.top_k < vocabulary:
        values, ids = _largest(logits, sampling.top_k)
        scores = (values.double() / sampling.temperature).gather(1, ids.argsort(-1))
        return _nucleus(scores.softmax(-1), sampling), ids.sort(-1).values
    total = torch.logsumexp(logits.double() / sampling.temperature, -1, keepdim=True)
    num = _FIRST_CANDIDATES
    while num < vocabulary:
        values, ids = logits.topk(num, dim=-1)
        probs = (values.double() / sampling.temperature - total).exp_()
        last = probs[:, -1:].clone()
        probs.masked_fill_(values == values[:, -1:], 0.0)  # of the tokens that tie with the last only some may be here
        if bool(_enough(probs, last, sampling).all()):
            return _nucleus(probs.gather(1, ids.argsort(-1)), sampling), ids.sort(-1).values
        num *= 8
    ids = torch.arange(vocabulary).expand(len(logits), -1)
    return _nucleus((logits.double() / sampling.temperature - total).exp_(), sampling), ids


def _largest(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids of the k largest and of all that tie with the k-th; what a row has too many is -inf."""
    least = logits.topk(k, dim=-1).values[:, -1:]
    num = int(((logits >= least) & (logits > float("-inf"))).sum(-1).max())
    values, ids = logits.topk(num, dim=-1)
    return values.masked_fill(values < least, float("-inf")), ids


def _enough(probs: torch.Tensor, last: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Whether no token of probability `last` or less can be kept: bool [n, 1]."""
    by_mass = sampling.top_p < 1.0 and probs.sum(-1, keepdim=True) >= sampling.top_p
    return by_mass | (last < sampling.min_p * probs.amax(-1, keepdim=True))


def _nucleus(probs: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """top p and min p; probs [n, M] of ascending ids, each row's sum at most 1. The sum of a row that is kept is not 1."""
    if sampling.top_p < 1.0:
        ordered, at = probs.flip(-1).sort(dim=-1, descending=True, stable=True)
        above = ordered.cumsum(-1) - ordered
        ordered = ordered.masked_fill(above >= sampling.top_p, 0.0)
        probs = torch.zeros_like(probs).scatter_(-1, at, ordered).flip(-1)
    if sampling.min_p > 0.0:
        probs = probs.masked_fill(probs < sampling.min_p * probs.amax(-1, keepdim=True), 0.0)
    return probs
