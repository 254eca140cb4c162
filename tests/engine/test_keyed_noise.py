"""The keyed noise itself: the generator against known numbers, its statistics against torch's dropout, and what its keys hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from luthier.core.errors import UserError
from luthier.engine.contract import Noise, NoiseRates
from luthier.engine.noise import GAMMA, TokenNoise, keys_of, splitmix, token_noise

RATES = NoiseRates(dropout=0.25, lora=0.1, embedding=5.0)


def noise(rows: tuple[int, ...] = (4, 9), rates: NoiseRates = RATES, seed: int = 3, epoch: int = 1) -> Noise:
    return Noise(rates, seed, epoch, rows)


def factors(one: TokenNoise, rate: float, place: str, width: int) -> torch.Tensor:
    return torch.cat([f for _, f in one.factors(rate, place, width, torch.float64)])


def test_the_generator_gives_the_published_numbers() -> None:
    """The first five outputs of SplitMix64 from the seed 1234567, as in the reference programs of many languages."""
    state = np.uint64([1234567]) + np.arange(1, 6, dtype=np.uint64) * GAMMA
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert splitmix(state).tolist() == wanted


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.9])
def test_factors_are_those_of_a_dropout(rate: float) -> None:
    """Zero with probability `rate`, else 1 / (1 - rate), as torch's dropout of ones; independent over tokens, columns and places."""
    one = token_noise(noise((1,)), [np.arange(400, dtype=np.int32)], 8)[0]
    found = factors(one, rate, "a", 64)
    theirs = torch.nn.functional.dropout(torch.ones(1, dtype=torch.float64), 0.0) / (1 - rate)
    assert found.max().item() == pytest.approx(theirs.item(), rel=1e-4)
    assert set(found.unique().tolist()) == {0.0, found.max().item()}
    dropped = (found == 0).numpy()
    assert stats.binomtest(int(dropped.sum()), dropped.size, rate).pvalue > 1e-3
    assert found.mean().item() == pytest.approx(1.0, abs=0.05 / (1 - rate))
    for other in (np.roll(dropped, 1, axis=0), np.roll(dropped, 1, axis=1), (factors(one, rate, "b", 64) == 0).numpy()):
        assert stats.fisher_exact(np.histogram2d(dropped.ravel(), other.ravel(), bins=2)[0])[1] > 1e-3


def test_embedding_noise_is_uniform_of_the_size_of_the_paper() -> None:
    """arXiv:2310.05914, algorithm 1: uniform in (-1, 1) times alpha / sqrt(L d), with L the length of the row."""
    long, short = token_noise(noise(), [np.arange(200, dtype=np.int32), np.arange(50, dtype=np.int32)], 32)
    for one, length in ((long, 200), (short, 50)):
        unit = one.embedding(32, torch.float64).numpy().ravel() / (5.0 / np.sqrt(length * 32))
        assert stats.kstest(unit, stats.uniform(-1, 2).cdf).pvalue > 1e-3
        assert abs(unit).max() < 1


def test_keys_hold_seed_row_epoch_and_position_and_nothing_else() -> None:
    tokens = [np.array([5, 6, 7], np.int32), np.array([5, 6, 7], np.int32)]
    first, second = keys_of(noise((4, 9)), tokens)
    assert len({*first.tolist(), *second.tolist()}) == 6
    assert keys_of(noise((9, 4)), tokens)[0].tolist() == second.tolist()
    assert keys_of(noise((4, 9)), [t + 1 for t in tokens])[0].tolist() == first.tolist()
    for other in (noise(seed=4), noise(epoch=2), noise((5, 9))):
        assert not set(keys_of(other, tokens)[0].tolist()) & set(first.tolist())
    longer = keys_of(noise((4, 9)), [np.arange(8, dtype=np.int32), tokens[1]])[0]
    assert longer[:3].tolist() == first.tolist()


def test_shared_masks_hold_the_tokens_so_far_instead_of_the_row() -> None:
    shared = noise((1, 2, 3), replace(RATES, embedding=0.0, shared_masks=True))
    a, b, c = keys_of(shared, [np.array(t, np.int32) for t in ([5, 6, 7, 8], [5, 6, 9, 8], [6, 5, 7, 8])])
    assert a[:2].tolist() == b[:2].tolist()
    assert not set(a[2:].tolist()) & set(b[2:].tolist())
    assert not set(a.tolist()) & set(c.tolist())
    assert keys_of(replace(shared, epoch=2), [np.array([5, 6], np.int32)] * 3)[0].tolist() != a[:2].tolist()


def test_a_layer_and_some_rows_of_it_have_the_same_noise() -> None:
    one = token_noise(noise((1,)), [np.arange(600, dtype=np.int32)], 8)[0]
    rows = np.array([3, 299, 300, 599])
    whole, part = (factors(n, 0.5, "mlp", 20) for n in (one.of_layer(4), one.of_layer(4, rows)))
    assert torch.equal(whole[torch.from_numpy(rows)], part)
    assert not torch.equal(whole, factors(one.of_layer(5), 0.5, "mlp", 20))
    x = torch.randn(600, 20, dtype=torch.float64)
    assert torch.equal(one.of_layer(4).dropped(x, 0.5, "mlp"), x * whole)


def test_every_sequence_needs_its_row() -> None:
    with pytest.raises(UserError, match="1 for 2 sequences"):
        keys_of(noise((1,)), [np.zeros(2, np.int32)] * 2)
