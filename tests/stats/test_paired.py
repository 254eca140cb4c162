"""Paired tests against statsmodels, scipy and published intervals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar

from luthier.core.errors import UserError
from luthier.stats.intervals import Resampling, mean_counts
from luthier.stats.paired import PairedTable, mcnemar_exact, paired_bootstrap, paired_table, permutation, tango, wilcoxon

# (both, only the first, only the second, neither), level, and the ends as they are printed: Fagerland, Lydersen and Laake, Statistics in
# Medicine 33 (2014) 2850-2875 (Bentur et al. 2009); R's contingencytables (Cavo et al. 2012); R's PropCIs, scoreci.mp(25, 28, 618, 0.90).
PUBLISHED = [
    ((1, 1, 7, 12), 0.95, -0.517, -0.026, 3),
    ((59, 6, 16, 80), 0.95, -0.1240, -0.0054, 4),
    ((500, 28, 25, 65), 0.90, -0.0148, 0.0247, 4),
]


@pytest.mark.parametrize(("cells", "level", "low", "high", "digits"), PUBLISHED, ids=lambda v: str(v))
def test_tango_reproduces_published_intervals(cells: tuple[int, int, int, int], level: float, low: float, high: float, digits: int) -> None:
    got = tango(PairedTable(*cells), 1 - level)
    assert (round(got.low, digits), round(got.high, digits)) == (low, high)
    mirrored = tango(PairedTable(cells[0], cells[2], cells[1], cells[3]), 1 - level)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((got.low, got.high))


def test_tango_and_the_exact_test_never_contradict_each_other() -> None:
    """Every pair of discordant counts up to 25: where exact McNemar is significant, the interval lies on its side of 0."""
    for b, c in itertools.product(range(26), repeat=2):
        table = PairedTable(40, b, c, 30)
        if mcnemar_exact(table).p < 0.05:
            e = tango(table)
            assert e.low > 0 if b > c else e.high < 0, (b, c)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (6, 0), (5, 5), (12, 2), (40, 61), (300, 200)])
def test_mcnemar_equals_statsmodels(b: int, c: int) -> None:
    got = mcnemar_exact(PairedTable(10, b, c, 4))
    assert got.p == pytest.approx(mcnemar([[10, b], [c, 4]], exact=True).pvalue if b + c else 1.0, rel=1e-10)


def test_the_table_counts_the_four_cells() -> None:
    assert paired_table(np.array([1, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 0])) == PairedTable(1, 2, 1, 1)
    with pytest.raises(UserError, match="0 or 1"):
        paired_table(np.array([0.5]), np.array([1.0]))
    with pytest.raises(UserError, match="one score per row"):
        paired_table(np.array([1.0, 0.0]), np.array([1.0]))


def test_exact_permutation_equals_enumeration_and_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(9), rng.random(9)
    d = a - b
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=9)]
    slow = np.mean([s >= abs(d.sum()) - 1e-12 for s in sums])
    got = permutation(mean_counts(a), mean_counts(b))
    assert got.p == pytest.approx(slow)
    assert got.test == "exact permutation"
    oracle = scipy_stats.permutation_test((a, b), lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples", n_resamples=np.inf)
    assert got.p == pytest.approx(oracle.pvalue)


def test_random_permutation_is_near_the_exact_binomial() -> None:
    # For right/wrong scores the swap test is McNemar's, so the Monte Carlo p must be near the exact one.
    rng = np.random.default_rng(1)
    a, b = (rng.random(200) < 0.7).astype(float), (rng.random(200) < 0.6).astype(float)
    exact = mcnemar_exact(paired_table(a, b)).p
    got = permutation(mean_counts(a), mean_counts(b), options=Resampling(resamples=20_000))
    assert got.test == "permutation"
    assert abs(got.p - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4


def test_random_permutation_is_never_zero() -> None:
    a, b = np.ones(60), np.zeros(60)
    got = permutation(mean_counts(a), mean_counts(b), options=Resampling(resamples=999))
    assert got.p == pytest.approx(1 / 1000)


def test_identical_models_have_p_one() -> None:
    scores = mean_counts(np.random.default_rng(0).random(30))
    assert permutation(scores, scores).p == 1.0


def test_groups_are_swapped_together() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(6), rng.random(6)
    once = permutation(mean_counts(a), mean_counts(b))
    grouped = permutation(mean_counts(np.repeat(a, 4)), mean_counts(np.repeat(b, 4)), groups=[i // 4 for i in range(24)])
    assert grouped.p == pytest.approx(once.p)
    assert grouped.test == "exact permutation over groups"


def test_paired_bootstrap_of_a_mean_is_the_bootstrap_of_the_differences() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(70)
    b = np.clip(a + rng.normal(0.05, 0.1, 70), 0, 1)
    got = paired_bootstrap(mean_counts(a), mean_counts(b), options=Resampling(resamples=20_000))
    want = scipy_stats.bootstrap((a - b,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(9)).confidence_interval
    assert got.value == pytest.approx((a - b).mean())
    assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=0.03 * (want.high - want.low))


def test_paired_counts_must_match() -> None:
    with pytest.raises(UserError, match="same rows"):
        paired_bootstrap(np.ones((3, 2)), np.ones((2, 2)))


def test_wilcoxon_ranks_the_sizes_of_the_differences() -> None:
    """Enumerated: all 2^7 signs of the ranks 1 to 7; the observed ranks against zero are 1 and 2."""
    first, second = np.array([0.1, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.3, 0.4, 0.5, 0.6, 0.7])
    sums = [sum(rank for rank, sign in zip(range(1, 8), signs, strict=True) if sign) for signs in itertools.product((0, 1), repeat=7)]
    got = wilcoxon(first, second)
    assert got.p == pytest.approx(2 * np.mean([s <= 3 for s in sums]))
    assert wilcoxon(second, first).p == got.p


def test_wilcoxon_of_equal_scores_and_of_bad_ones() -> None:
    assert wilcoxon(np.ones(5), np.ones(5)).p == 1.0
    with pytest.raises(UserError, match="finite"):
        wilcoxon(np.array([np.nan]), np.ones(1))
    with pytest.raises(UserError, match="one finite score per row"):
        wilcoxon(np.ones(2), np.ones(1))
