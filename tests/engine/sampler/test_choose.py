"""Temperature, top-k and top-p against transformers' logits processors; draws follow the probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from luthier.engine.contract import Sampling
from luthier.engine.sampler.choose import choose, probabilities


@pytest.mark.parametrize("temperature", [0.5, 1.7])
@pytest.mark.parametrize("top_k", [0, 1, 5, 1000])
@pytest.mark.parametrize("top_p", [0.01, 0.7, 1.0])
def test_filters_equal_transformers(temperature: float, top_k: int, top_p: float) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(7, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 3
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    ours = probabilities(logits, Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
    torch.testing.assert_close(ours, scores.softmax(-1), rtol=0, atol=1e-12)


def test_draws_follow_the_probabilities_and_the_seed() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -50.0]]).repeat(20_000, 1)

    def draws(seed: int) -> torch.Tensor:
        return choose(logits, Sampling(temperature=1.0), [np.random.default_rng([seed, i]) for i in range(len(logits))])

    first = draws(0)
    assert torch.equal(first, draws(0))
    assert not torch.equal(first, draws(1))
    shares = torch.bincount(first, minlength=4) / len(first)
    torch.testing.assert_close(shares.double(), logits[0].double().softmax(-1), rtol=0, atol=0.015)


def test_zero_temperature_is_the_largest() -> None:
    assert choose(torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]]), Sampling(), []).tolist() == [1, 0]
