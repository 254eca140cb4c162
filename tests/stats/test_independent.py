"""Two independent samples: the intervals are those of the libraries, and they cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from statsmodels.stats.proportion import confint_proportions_2indep

from luthier.core.errors import UserError
from luthier.stats.independent import newcombe_independent, two_sample_bootstrap
from luthier.stats.intervals import Resampling, mean_counts, mean_of_counts


@pytest.mark.parametrize(
    ("a", "b"), [((56, 70), (48, 80)), ((9, 10), (3, 10)), ((0, 20), (5, 30)), ((40, 40), (40, 40)), ((7, 200), (1, 50))]
)
def test_newcombe_is_that_of_statsmodels(a: tuple[int, int], b: tuple[int, int]) -> None:
    ours = newcombe_independent(a, b)
    low, high = confint_proportions_2indep(*a, *b, method="newcomb", compare="diff", correction=False)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-9)
    assert ours.value == pytest.approx(a[0] / a[1] - b[0] / b[1])


def test_newcombe_covers_at_unequal_sizes() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.binomial(150, 0.85, 1500), rng.binomial(60, 0.7, 1500)
    found = [newcombe_independent((int(x), 150), (int(y), 60)) for x, y in zip(one, two, strict=True)]
    assert 0.93 <= np.mean([e.low <= 0.15 <= e.high for e in found]) <= 0.975


def test_the_bootstrap_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.beta(4, 1, size=60), rng.beta(2, 2, size=25)
    ours = two_sample_bootstrap(mean_counts(one), mean_counts(two), mean_of_counts, options=Resampling(resamples=20_000))

    def difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis=axis) - b.mean(axis=axis)

    theirs = scipy_bootstrap((one, two), difference, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    assert ours.n == 85
    back = two_sample_bootstrap(mean_counts(two), mean_counts(one), mean_of_counts, options=Resampling(resamples=20_000))
    assert (-back.high, -back.low) == pytest.approx((ours.low, ours.high), abs=0.004)


def test_the_bootstrap_covers() -> None:
    rng, inside = np.random.default_rng(5), 0
    for i in range(300):
        e = two_sample_bootstrap(
            mean_counts(rng.beta(5, 2, 60)), mean_counts(rng.beta(2, 2, 40)), mean_of_counts, options=Resampling(resamples=400, seed=i)
        )
        inside += e.low <= 5 / 7 - 0.5 <= e.high
    assert 0.92 <= inside / 300 <= 0.98


def test_groups_are_drawn_whole_and_a_sample_without_spread_has_a_bound() -> None:
    counts = mean_counts(np.repeat(np.random.default_rng(2).random(12), 10))
    groups = [f"g{i // 10}" for i in range(120)]
    alone = two_sample_bootstrap(counts, counts, mean_of_counts)
    together = two_sample_bootstrap(counts, counts, mean_of_counts, (groups, groups))
    assert together.high - together.low > 2 * (alone.high - alone.low)
    same = two_sample_bootstrap(mean_counts(np.ones(30)), mean_counts(np.ones(10)), mean_of_counts)
    assert same.value == 0
    assert same.low < 0 < same.high
    with pytest.raises(UserError, match="at least one row"):
        newcombe_independent((0, 0), (1, 2))
