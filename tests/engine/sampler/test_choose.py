"""The distribution of the next token against transformers' processors, and the fast choice against the slow one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from luthier.engine.contract import Sampling
from luthier.engine.sampler.choose import choose, kept, penalise
from luthier.engine.sampler.plain import choose_plain, penalised, probabilities

GRID = list(itertools.product([0.5, 1.7], [0, 1, 5, 1000], [0.01, 0.7, 1.0], [0.0, 0.05, 1.0]))


def some_logits(kind: str, rows: int = 7, vocabulary: int = 50) -> torch.Tensor:
    """Float64 logits: spread, full of ties, or partly impossible."""
    logits = torch.randn(rows, vocabulary, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 3
    if kind == "ties":
        return logits.round()
    if kind == "masked":
        return logits.masked_fill(torch.rand(logits.shape, generator=torch.Generator().manual_seed(4)) < 0.8, float("-inf"))
    return logits


def transformers_probabilities(logits: torch.Tensor, s: Sampling) -> torch.Tensor:
    """The warpers that `generate` builds for these settings, in its own order."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    given = {"do_sample": True, "temperature": s.temperature, "top_k": s.top_k, "top_p": s.top_p, "min_p": s.min_p or None}
    processors = model._get_logits_processor(
        generation_config=GenerationConfig(**given), input_ids_seq_length=1, encoder_input_ids=None, prefix_allowed_tokens_fn=None
    )
    return processors(torch.zeros(len(logits), 1, dtype=torch.int64), logits).softmax(-1)


@pytest.mark.parametrize("kind", ["spread", "ties", "masked"])
def test_filters_equal_transformers(kind: str) -> None:
    logits = some_logits(kind)
    for temperature, top_k, top_p, min_p in GRID:
        s = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        wanted, found = transformers_probabilities(logits, s), probabilities(logits, s)
        if kind == "ties":  # transformers sorts without a rule for equal tokens: which of them top p keeps is open, how many is not
            wanted, found = wanted.sort(-1).values, found.sort(-1).values
        assert torch.equal(wanted > 0, found > 0), s
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["spread", "ties", "masked"])
@pytest.mark.parametrize("vocabulary", [50, 3000])
def test_the_fast_filters_keep_the_same_tokens(kind: str, vocabulary: int) -> None:
    logits = some_logits(kind, vocabulary=vocabulary)
    for temperature, top_k, top_p, min_p in GRID:
        s = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        weights, ids = kept(logits, s)
        assert (ids.diff(dim=-1) > 0).all()
        found = torch.zeros_like(logits).scatter_(1, ids, weights / weights.sum(-1, keepdim=True))
        wanted = probabilities(logits, s)
        assert torch.equal(found > 0, wanted > 0), s
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["spread", "ties", "masked"])
@pytest.mark.parametrize("vocabulary", [50, 1000])
def test_the_fast_choice_equals_the_slow_one(kind: str, vocabulary: int) -> None:
    logits = some_logits(kind, 400, vocabulary)
    uniforms = np.random.default_rng(0).random(400).tolist()
    for temperature, top_k, top_p, min_p in [(0.0, 0, 1.0, 0.0), (0.8, 0, 1.0, 0.0), *GRID[::5]]:
        s = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        assert torch.equal(choose(logits, s, uniforms), choose_plain(logits, s, uniforms)), s


@pytest.mark.parametrize("penalty", [0.6, 1.3])
def test_the_repetition_penalty_equals_transformers(penalty: float) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = some_logits("spread")
    ids = torch.randint(0, 50, (7, 20), generator=torch.Generator().manual_seed(1))
    seen = [np.unique(row) for row in ids.numpy()]
    wanted = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    assert torch.equal(penalised(logits, seen, penalty), wanted)
    penalise(logits, seen, penalty)
    assert torch.equal(logits, wanted)


def test_draws_follow_the_probabilities_and_the_seed() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -50.0]]).repeat(20_000, 1)

    def draws(seed: int) -> torch.Tensor:
        return choose(logits, Sampling(temperature=1.0), np.random.default_rng(seed).random(len(logits)).tolist())

    first = draws(0)
    assert torch.equal(first, draws(0))
    assert not torch.equal(first, draws(1))
    shares = torch.bincount(first, minlength=4) / len(first)
    torch.testing.assert_close(shares.double(), logits[0].double().softmax(-1), rtol=0, atol=0.015)


def test_zero_temperature_is_the_largest() -> None:
    assert choose(torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]]), Sampling(), [0.5, 0.5]).tolist() == [1, 0]
