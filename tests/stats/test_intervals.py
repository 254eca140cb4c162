"""Intervals against statsmodels and scipy, and their degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from luthier.core.errors import UserError
from luthier.stats.intervals import (
    Resampling,
    bca,
    bootstrap,
    cluster_totals,
    jackknife,
    mean_counts,
    mean_of_counts,
    median_interval,
    standard_error,
    wilson,
)


@pytest.mark.parametrize("n", [1, 2, 7, 54, 240, 5000])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_wilson_equals_statsmodels(n: int, share: float, alpha: float) -> None:
    k = round(share * n)
    got = wilson(k, n, alpha)
    low, high = proportion_confint(k, n, alpha=alpha, method="wilson")
    assert (got.low, got.high) == pytest.approx((low, high), abs=1e-12)
    assert got.low <= got.value <= got.high


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses(k: int, n: int) -> None:
    with pytest.raises(UserError):
        wilson(k, n)


def test_bca_equals_scipy_on_a_skewed_mean() -> None:
    scores = np.random.default_rng(3).beta(0.5, 3, size=60)
    got = bca(mean_counts(scores), options=Resampling(resamples=20_000, seed=1))
    want = scipy_stats.bootstrap((scores,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(2)).confidence_interval
    width = want.high - want.low
    assert got.value == pytest.approx(scores.mean())
    assert got.low == pytest.approx(want.low, abs=0.02 * width)
    assert got.high == pytest.approx(want.high, abs=0.02 * width)


def test_bca_of_a_ratio_equals_scipy() -> None:
    rng = np.random.default_rng(5)
    parts = np.stack([rng.poisson(3, 80), rng.poisson(6, 80) + 1], axis=1).astype(float)
    got = bca(parts, options=Resampling(resamples=20_000))
    want = scipy_stats.bootstrap(
        (parts[:, 0], parts[:, 1]),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="BCa",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    width = want.high - want.low
    assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=0.02 * width)


def test_jackknife_error_of_a_mean_is_the_textbook_one() -> None:
    scores = np.random.default_rng(0).random(31)
    assert standard_error(mean_counts(scores), mean_of_counts) == pytest.approx(scores.std(ddof=1) / np.sqrt(31))


def test_the_vectorised_jackknife_and_bootstrap_equal_loops() -> None:
    counts = np.random.default_rng(0).random((9, 2)) + 1
    slow = [mean_of_counts(np.delete(counts, i, axis=0).sum(axis=0)) for i in range(9)]
    assert jackknife(counts, mean_of_counts) == pytest.approx(np.array(slow))
    options = Resampling(resamples=500, seed=4)
    picks = np.random.default_rng(4).integers(0, 9, size=(500, 9))
    assert bootstrap(counts, mean_of_counts, options) == pytest.approx([mean_of_counts(counts[p].sum(axis=0)) for p in picks])


def test_same_seed_same_interval_other_seed_other() -> None:
    counts = mean_counts(np.random.default_rng(0).random(40))
    assert bca(counts) == bca(counts)
    assert bca(counts) != bca(counts, options=Resampling(seed=1))


def test_groups_widen_the_interval_of_repeated_rows() -> None:
    scores = np.random.default_rng(0).random(40)
    once = bca(mean_counts(scores))
    repeated, groups = np.repeat(scores, 5), [i // 5 for i in range(200)]
    grouped = bca(mean_counts(repeated), groups=groups)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))
    assert grouped.n == 200
    naive = bca(mean_counts(repeated))
    assert naive.high - naive.low < 0.6 * (grouped.high - grouped.low)


def test_rows_without_a_group_stand_alone() -> None:
    counts = mean_counts(np.arange(4.0))
    assert cluster_totals(counts, ["a", None, "a", None]).tolist() == [[2.0, 2.0], [1.0, 1.0], [3.0, 1.0]]
    assert cluster_totals(counts, [0, None, None, None]).shape == (4, 2)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_scores_get_an_honest_interval(value: float) -> None:
    got = bca(mean_counts(np.full(20, value)))
    share = proportion_confint(0, 20, method="beta")[1]  # Clopper-Pearson for no event in 20
    assert got.low == pytest.approx(value - share * value)
    assert got.high == pytest.approx(value + share * (1 - value))
    assert "no spread" in got.method


def test_an_interval_without_width_is_an_honest_one_too() -> None:
    """Micro F1 of rows (right, found, wanted): a resample of empty rows alone scores 1, too rarely to reach the limits."""

    def f1(totals: np.ndarray) -> np.ndarray:
        size = totals[..., 1] + totals[..., 2]
        return np.where(size > 0, 2 * totals[..., 0] / np.where(size > 0, size, 1.0), 1.0)

    counts = np.array([(0, 1, 1)] * 5 + [(0, 0, 0)] * 5, dtype=float)
    assert np.ptp(bootstrap(counts, f1, Resampling())) == 1
    got = bca(counts, f1)
    assert (got.value, got.low, got.method) == (0.0, 0.0, "exact bound (no spread)")
    assert got.high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_a_figure_beyond_the_bounds_lies_in_its_interval() -> None:
    got = bca(np.array([[60.0, 2.0]]))
    assert got.low <= got.value <= got.high


def test_one_row_has_the_widest_interval() -> None:
    got = bca(mean_counts(np.array([1.0])))
    assert got.low == pytest.approx(0.025)
    assert got.high == 1.0


@pytest.mark.parametrize("counts", [np.zeros((0, 2)), np.array([[np.nan, 1.0]]), np.zeros(3)])
def test_bad_counts_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(UserError):
        bca(counts)


def test_bad_options_are_refused() -> None:
    with pytest.raises(UserError, match="alpha"):
        Resampling(alpha=0.0)
    with pytest.raises(UserError, match="resamples"):
        Resampling(resamples=10)
    with pytest.raises(UserError, match="one group per row"):
        bca(mean_counts(np.ones(3)), groups=["a"])


@pytest.mark.parametrize("n", [6, 7, 20, 101])
def test_the_median_lies_between_the_order_statistics_of_the_binomial(n: int) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    got = median_interval(values)
    ordered = sorted(values)
    skipped = next(k for k in range(n, 0, -1) if scipy_stats.binom.cdf(k - 1, n, 0.5) <= 0.025)
    assert (got.low, got.high) == (ordered[skipped - 1], ordered[n - skipped])
    assert got.value == np.median(values)


def test_too_few_values_have_no_interval_of_the_median() -> None:
    with pytest.raises(UserError, match="at least 6 values"):
        median_interval(np.arange(5.0))
    with pytest.raises(UserError, match="at least 6"):
        median_interval(np.zeros(0))
