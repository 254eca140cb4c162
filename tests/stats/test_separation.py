"""AUC with its interval, and canary exposure: values against scikit-learn and arithmetic, coverage and levels by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, norm
from sklearn.metrics import roc_auc_score

from luthier.core.errors import UserError
from luthier.stats.separation import auc, exposure


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_that_of_scikit_learn_with_ties_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.normal(0.5, 1, 40), 1), np.round(rng.normal(0, 1, 30), 1)
    wanted = roc_auc_score(np.r_[np.ones(40), np.zeros(30)], np.r_[x, y])
    found = auc(x, y)
    assert found.value == pytest.approx(wanted, abs=1e-12)
    assert found.low < wanted < found.high
    mirrored = auc(y, x)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


@pytest.mark.parametrize(("truth", "m", "n"), [(0.5, 50, 50), (0.7, 50, 50), (0.9, 40, 80), (0.5, 200, 200)])
def test_the_interval_covers(truth: float, m: int, n: int) -> None:
    rng, shift, covered, trials = np.random.default_rng(4), np.sqrt(2) * norm.ppf(truth), 0, 400
    for _ in range(trials):
        e = auc(rng.normal(shift, 1, m), rng.normal(0, 1, n))
        covered += e.low <= truth <= e.high
    assert 0.93 <= covered / trials <= 0.985


def test_rows_that_are_told_apart_without_a_fault_still_have_an_interval() -> None:
    found = auc(np.arange(10, 30), np.arange(10))
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.7 < found.low < 1
    assert auc(np.ones(20), np.ones(30)).value == 0.5
    for bad in (np.array([]), np.array([np.nan])):
        with pytest.raises(UserError):
            auc(bad, np.ones(3))


def test_exposure_is_log2_of_the_size_over_the_rank() -> None:
    first = exposure(np.ones(20), 255)
    assert (first.exposure.value, first.most) == (8.0, 8.0)
    assert first.p < 1e-20
    assert exposure(np.array([1, 2, 4, 256]), 255).exposure.value == pytest.approx((8 + 7 + 6 + 0) / 4)
    with pytest.raises(UserError):
        exposure(np.array([0]), 255)
    with pytest.raises(UserError):
        exposure(np.array([257]), 255)


def test_canaries_that_were_not_learned_are_at_chance() -> None:
    rng = np.random.default_rng(5)
    found = [exposure(rng.integers(1, 257, 20), 255) for _ in range(300)]
    assert found[0].chance == pytest.approx(np.mean([np.log2(256 / r) for r in range(1, 257)]))
    assert np.mean([f.exposure.value for f in found]) == pytest.approx(found[0].chance, abs=0.06)
    assert 0.01 <= np.mean([f.p < 0.05 for f in found]) <= 0.08
    assert kstest([f.p for f in found], "uniform").pvalue > 0.01
    assert np.mean([f.exposure.low <= f.chance <= f.exposure.high for f in found]) >= 0.9
