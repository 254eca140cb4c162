"""How far an export is from its source: logits at the same tokens, compared position by position, and the bound.

One decision: both models read the same tokens (each prompt with the source's own greedy answer), so an equal argmax at
every position is the same as an equal greedy answer, and one difference early in an answer does not spoil the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Progress = Callable[[int, int], None]
"""Called with (done, total) prompts."""
EXACT_LOGIT, EXACT_SHARE = 1e-4, 1e-5
"""What float32 rounding may move a logit by: 1e-4, or 1e-5 of the largest logit where that is more (docs/export.md)."""
_TOGETHER = 1024
NEW_TOKENS = 12
"""Greedy tokens of each answer; generation goes on past an end of turn, so that every prompt weighs the same."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What an export must keep to. exact: every logit within `rounding` of the source's; kl: mean KL in nats a token.

    greedy: the least share of equal greedy tokens, near-ties of the source counted as equal.
    """

    exact: bool
    kl: float
    greedy: float


# Justified in docs/export.md by measurements on SmolLM2-135M-Instruct (untuned and tuned) and on random toy models.
BOUNDS = {
    "peft": Bound(True, 1e-8, 1.0),
    "float32": Bound(True, 1e-8, 1.0),
    "float16": Bound(False, 5e-5, 0.98),
    "bfloat16": Bound(False, 5e-3, 0.9),
    "f16": Bound(False, 5e-5, 0.98),
    "q8_0": Bound(False, 5e-3, 0.9),
    "q4_k": Bound(False, 0.3, 0.6),
    "q4_0": Bound(False, 0.5, 0.5),
}


def rounding(largest: float) -> float:
    """How far float32 rounding may move a logit of a model whose largest absolute logit is `largest`."""
    return max(EXACT_LOGIT, EXACT_SHARE * largest)


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt with its greedy answer. tokens: int32 [N]; start: where the answer begins."""

    tokens: np.ndarray
    start: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The difference over all answer positions. kl: KL(source || export) in nats a token.

    near_ties: positions with unequal greedy tokens where the source's own two best logits are within twice `rounding`.
    """

    prompts: int
    tokens: int
    largest_logit: float
    max_logit_error: float
    mean_logit_error: float
    mean_kl: float
    max_kl: float
    equal_tokens: int
    equal_answers: int
    near_ties: int

    def breaches(self, bound: Bound, name: str) -> tuple[str, ...]:
        """Each way in which the bound is broken, in words; empty when it holds."""
        out = []
        allowed = rounding(self.largest_logit)
        if bound.exact and not self.max_logit_error <= allowed:
            out.append(f"the largest logit difference is {self.max_logit_error:.3g}, {name} must stay within {allowed:.3g}")
        if not self.mean_kl <= bound.kl:
            out.append(f"the mean KL is {self.mean_kl:.3g} nats a token, {name} must stay within {bound.kl:g}")
        needed = math.ceil(bound.greedy * self.tokens)
        if self.equal_tokens + self.near_ties < needed:
            out.append(f"{self.equal_tokens} of {self.tokens} greedy tokens are equal, {name} needs {needed} ({self.near_ties} near-ties)")
        return tuple(out)


@torch.no_grad()
def answer_logits(model: Any, readings: Sequence[Reading], progress: Progress) -> list[torch.Tensor]:
    """Logits [answer tokens, vocabulary] in float32 of each reading.

    Sequences of like length are read together, filled up on the right: attention is causal, so nothing reads the filling.
    """
    out: dict[int, torch.Tensor] = {}
    for group in _groups([len(r.tokens) for r in readings]):
        progress(len(out), len(readings))
        longest = max(len(readings[i].tokens) for i in group)
        first = min(readings[i].start for i in group) - 1
        ids = torch.zeros(len(group), longest, dtype=torch.long)
        for row, i in enumerate(group):
            ids[row, : len(readings[i].tokens)] = torch.from_numpy(readings[i].tokens.astype(np.int64))
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=longest - first).logits
        for row, i in enumerate(group):
            begin, end = readings[i].start - 1 - first, len(readings[i].tokens) - 1 - first
            out[i] = logits[row, begin:end].float().clone()
    progress(len(readings), len(readings))
    return [out[i] for i in range(len(readings))]


def _groups(lengths: Sequence[int]) -> list[list[int]]:
    """Positions of sequences to read together, like lengths side by side, at most _TOGETHER tokens filled up."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if groups and (len(groups[-1]) + 1) * lengths[i] <= _TOGETHER:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def compare(source: Sequence[torch.Tensor], export: Sequence[torch.Tensor]) -> Measured:
    """source, export: logits [answer tokens, vocabulary] by prompt, of the same tokens. A vocabulary padded longer is cut."""
    largest = max(float(w.abs().max()) for w in source)
    worst = total = kl_sum = kl_max = 0.0
    tokens = count = equal = answers = ties = 0
    for wanted, found in zip(source, export, strict=True):
        found = found[:, : wanted.shape[1]]
        difference = (wanted - found).abs()
        divergence = _kl(wanted, found)
        same = wanted.argmax(-1) == found.argmax(-1)
        two = wanted.topk(2, -1).values
        near = (two[:, 0] - two[:, 1] <= 2 * rounding(largest)) & ~same
        worst, total = _worst(worst, float(difference.max())), total + float(difference.double().sum())
        kl_sum, kl_max = kl_sum + float(divergence.sum()), _worst(kl_max, float(divergence.max()))
        tokens, count = tokens + len(wanted), count + difference.numel()
        equal, answers, ties = equal + int(same.sum()), answers + bool(same.all()), ties + int(near.sum())
    return Measured(len(source), tokens, largest, worst, total / count, kl_sum / tokens, kl_max, equal, answers, ties)


def _worst(a: float, b: float) -> float:
    """The larger one; NaN when either is (plain `max` may lose it)."""
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)


def _kl(wanted: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL(source || export) of each position in nats, float64 [tokens]; not below 0 (rounding)."""
    p, q = torch.log_softmax(wanted.double(), -1), torch.log_softmax(found.double(), -1)
    return (p.exp() * (p - q)).sum(-1).clamp(min=0.0)
