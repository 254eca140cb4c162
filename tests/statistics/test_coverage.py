"""Simulations: intervals cover what they claim, and the verdict is wrong at most as often as alpha allows."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.stats.intervals import Resampling, bca, mean_counts, wilson
from luthier.stats.paired import paired_table, permutation, tango, wilcoxon
from luthier.stats.ranking import bradley_terry
from luthier.stats.verdict import judge

FAST = Resampling(resamples=800)


@pytest.mark.parametrize(("n", "p"), [(60, 0.1), (60, 0.5), (240, 0.9)])
def test_wilson_covers(n: int, p: float) -> None:
    draws = np.random.default_rng(0).binomial(n, p, size=3000)
    covered = np.mean([(e := wilson(k, n)).low <= p <= e.high for k in draws])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("cells", [(0.5, 0.2, 0.1, 0.2), (0.1, 0.5, 0.05, 0.35), (0.9, 0.04, 0.02, 0.04)])
def test_tango_covers(cells: tuple[float, float, float, float]) -> None:
    rng = np.random.default_rng(1)
    truth = cells[1] - cells[2]
    hits = 0
    for both, one, two, neither in rng.multinomial(120, cells, size=1500):
        tuned = np.repeat([1, 1, 0, 0], [both, one, two, neither])
        base = np.repeat([1, 0, 1, 0], [both, one, two, neither])
        e = tango(paired_table(tuned, base))
        hits += e.low <= truth <= e.high
    sparse = cells[1] + cells[2] < 0.1  # about 7 rows of 120 on which the models differ: so few make it conservative
    assert 0.93 <= hits / 1500 <= (1.0 if sparse else 0.97)


def test_bca_covers_a_skewed_mean() -> None:
    rng = np.random.default_rng(2)
    truth = 0.5 / 3.5
    hits = 0
    for i in range(400):
        e = bca(mean_counts(rng.beta(0.5, 3, size=100)), options=Resampling(resamples=800, seed=i))
        hits += e.low <= truth <= e.high
    assert 0.93 <= hits / 400 <= 0.97


def test_bca_covers_a_micro_f1() -> None:
    def micro_f1(totals: np.ndarray) -> np.ndarray:
        return 2 * totals[..., 0] / (totals[..., 1] + totals[..., 2])

    rng = np.random.default_rng(3)

    def sample(n: int) -> np.ndarray:
        wanted = rng.integers(1, 6, n)
        right = rng.binomial(wanted, 0.6)
        return np.stack([right, right + rng.poisson(0.5, n), wanted], axis=1).astype(float)

    truth = float(micro_f1(sample(400_000).sum(axis=0)))
    hits = 0
    for i in range(400):
        e = bca(sample(100), micro_f1, options=Resampling(resamples=800, seed=i))
        hits += e.low <= truth <= e.high
    assert 0.93 <= hits / 400 <= 0.97


def test_bca_over_groups_covers_where_rows_would_not() -> None:
    rng = np.random.default_rng(4)
    groups = [i // 8 for i in range(320)]
    hits = naive = 0
    for i in range(300):
        chance = np.repeat(rng.beta(2, 2, size=40), 8)
        counts = mean_counts((rng.random(320) < chance).astype(float))
        options = Resampling(resamples=800, seed=i)
        e, f = bca(counts, groups=groups, options=options), bca(counts, options=options)
        hits += e.low <= 0.5 <= e.high
        naive += f.low <= 0.5 <= f.high
    assert 0.93 <= hits / 300 <= 0.97
    assert naive / 300 < 0.85


def test_equal_models_are_rarely_called_different() -> None:
    """False verdicts (better or worse) of right/wrong scores stay at or below alpha; 3000 draws, 4 sigma of slack."""
    rng = np.random.default_rng(5)
    false = 0
    for both, one, two, neither in rng.multinomial(200, (0.5, 0.12, 0.12, 0.26), size=3000):
        tuned = np.repeat([1.0, 1.0, 0.0, 0.0], [both, one, two, neither])
        base = np.repeat([1.0, 0.0, 1.0, 0.0], [both, one, two, neither])
        table = paired_table(tuned, base)
        false += judge_decision(tuned, base) != "not proven"
        assert table.n == 200
    assert false / 3000 <= 0.05


def judge_decision(tuned: np.ndarray, base: np.ndarray) -> str:
    """The decision by the verdict's own rule without its power calculation, which is slow and not under test here."""
    from luthier.stats.paired import mcnemar_exact

    table = paired_table(tuned, base)
    p, e = mcnemar_exact(table).p, tango(table)
    return "better" if p < 0.05 and e.low > 0 else "worse" if p < 0.05 and e.high < 0 else "not proven"


@pytest.mark.parametrize("kind", ["binary", "mean"])
def test_the_verdict_itself_is_rarely_wrong(kind: str) -> None:
    rng = np.random.default_rng(6)
    false = 0
    trials = 250
    for i in range(trials):
        if kind == "binary":
            tuned, base = (rng.random((2, 80)) < 0.6).astype(float)
        else:
            tuned, base = rng.beta(0.7, 1.4, size=(2, 60))
        false += judge(tuned, base, kind, seed=i).decision != "not proven"  # type: ignore[arg-type]
    # P(more than 22 of 250 | 5 %) is below 0.3 %.
    assert false <= 22


def test_a_real_gain_is_found_about_as_often_as_the_power_says() -> None:
    from luthier.stats.power import detectable_gain

    rng = np.random.default_rng(7)
    gain = detectable_gain(200, 0.3)
    cells = (0.4, (0.3 + gain) / 2, (0.3 - gain) / 2, 0.3)
    found = 0
    for both, one, two, neither in rng.multinomial(200, cells, size=1000):
        tuned = np.repeat([1.0, 1.0, 0.0, 0.0], [both, one, two, neither])
        base = np.repeat([1.0, 0.0, 1.0, 0.0], [both, one, two, neither])
        found += judge_decision(tuned, base) == "better"
    assert found / 1000 == pytest.approx(0.8, abs=0.05)


def test_bradley_terry_covers() -> None:
    truth = np.array([0.6, 0.1, -0.2, -0.5])
    chance = 1 / (1 + np.exp(truth[None, :] - truth[:, None]))
    rng, hits = np.random.default_rng(8), 0
    for _ in range(300):
        upper = np.triu(rng.binomial(30, chance), 1)
        wins = upper + np.tril(30 - upper.T, -1)
        for s in bradley_terry("abcd", wins):
            hits += s.low <= truth["abcd".index(s.name)] <= s.high
    assert 0.93 <= hits / 1200 <= 0.97


@pytest.mark.parametrize("test", ["wilcoxon", "permutation"])
def test_equal_scores_are_rarely_called_different(test: str) -> None:
    """P(more than 24 of 300 | 5 %) is below 0.8 %; more than 4 are found, so the level is also used."""
    rng, false = np.random.default_rng(9), 0
    for i in range(300):
        a, b = rng.beta(0.7, 1.4, size=(2, 40))
        options = Resampling(resamples=1000, seed=i)
        found = wilcoxon(a, b) if test == "wilcoxon" else permutation(mean_counts(a), mean_counts(b), options=options)
        false += found.p < 0.05
    assert 4 < false <= 24
