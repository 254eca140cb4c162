"""Always-valid A/B tests: against the paper's formulas row by row, and by simulated peeking after every row."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.core.errors import UserError
from luthier.stats.sequential import capital, paired_sequence, randomised_sequence


def slow_capital(values: np.ndarray, mean: float, alpha: float) -> tuple[list[float], list[float]]:
    """Waudby-Smith and Ramdas (2024), equations 24 to 26 with c = 1/2, one row at a time, as products."""
    up, down, ups, downs = 1.0, 1.0, [], []
    for t in range(1, len(values) + 1):
        seen = values[: t - 1]
        spread = 0.25
        for i in range(1, t):
            centre = (0.5 + seen[:i].sum()) / (i + 1)
            spread += (seen[i - 1] - centre) ** 2
        stake = math.sqrt(2 * math.log(2 / alpha) / (spread / t * t * math.log(t + 1)))
        up *= 1 + min(stake, 0.5 / mean) * (values[t - 1] - mean)
        down *= 1 - min(stake, 0.5 / (1 - mean)) * (values[t - 1] - mean)
        ups.append(up)
        downs.append(down)
    return ups, downs


@pytest.mark.parametrize("mean", [0.1, 0.5, 0.93])
def test_the_capital_equals_a_loop_over_the_papers_formulas(mean: float) -> None:
    values = np.random.default_rng(0).random(60)
    up, down = capital(values, mean, 0.05)
    ups, downs = slow_capital(values, mean, 0.05)
    assert up == pytest.approx(np.log(ups), abs=1e-9)
    assert down == pytest.approx(np.log(downs), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_where_nobody_is_rich(seed: int) -> None:
    """Against every mean of a grid, one by one."""
    a, b = (np.random.default_rng(seed).random((2, 400)) < [[0.8], [0.6]]).astype(float)
    got = paired_sequence(a, b)
    for effect in np.linspace(-0.999, 0.999, 400):
        poor = max(side[-1] for side in capital((a - b + 1) / 2, (effect + 1) / 2, 0.05)) < math.log(2 / 0.05)
        assert poor == (got.low < effect < got.high) or min(abs(effect - got.low), abs(effect - got.high)) < 5e-5


def test_capital_is_fair_when_the_mean_is_true() -> None:
    """The expected capital after 6 rows of a coin, over all 64 outcomes, is exactly the 1 that was staked."""
    outcomes = np.array([[(i >> j) & 1 for j in range(6)] for i in range(64)], dtype=float)
    last = [[np.exp(side[-1]) for side in capital(x, 0.5, 0.05)] for x in outcomes]
    assert np.mean(last, axis=0) == pytest.approx([1, 1], abs=1e-12)


def ab_rows(seed: int, n: int, chances: tuple[float, float], share: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    arm = rng.random(n) < share
    return (rng.random(n) < np.where(arm, chances[0], chances[1])).astype(float), arm


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_peeking_after_every_row_decides_falsely_at_most_alpha(share: float) -> None:
    """300 A/A tests of 1,500 rows, looked at after each: P(more than 25 | 5 %) is below 0.4 %."""
    found = [randomised_sequence(*ab_rows(i, 1500, (0.6, 0.6), share), share) for i in range(300)]
    assert sum(r.decided_at is not None for r in found) <= 25
    assert sum(not r.low <= 0 <= r.high for r in found) <= 25


def test_paired_peeking_decides_falsely_at_most_alpha() -> None:
    found = []
    for i in range(300):
        a, b = (np.random.default_rng(i).random((2, 1000)) < 0.7).astype(float)
        found.append(paired_sequence(a, b))
    assert sum(r.decided_at is not None for r in found) <= 25


def test_the_interval_holds_at_every_row_at_once() -> None:
    """The true effect is refuted at no row of 1,200 in at least 93 % of 400 runs: at most 40 fail by chance at 5 %, beyond 4 sigma."""
    missed = 0
    for i in range(400):
        a, b = (np.random.default_rng(i).random((2, 1200)) < [[0.7], [0.6]]).astype(float)
        missed += max(side.max() for side in capital((a - b + 1) / 2, 0.55, 0.05)) >= math.log(2 / 0.05)
    assert missed / 400 <= 0.07


def test_a_real_gain_is_found() -> None:
    found = [randomised_sequence(*ab_rows(i, 4000, (0.7, 0.55), 0.5)) for i in range(40)]
    assert sum(r.decision == "better" for r in found) >= 36
    for r in found:
        assert (r.decision == "better") == (r.p <= 0.05)
        assert r.low < r.effect < r.high
    worse = randomised_sequence(*ab_rows(3, 4000, (0.5, 0.7), 0.5))
    assert worse.decision == "worse"
    assert worse.high < 0


def test_more_rows_never_undo_a_decision() -> None:
    scores, arm = ab_rows(5, 3000, (0.75, 0.55), 0.5)
    first = next(n for n in range(200, 3001, 100) if randomised_sequence(scores[:n], arm[:n]).decided_at)
    early, late = randomised_sequence(scores[:first], arm[:first]), randomised_sequence(scores, arm)
    assert (early.decision, early.decided_at) == (late.decision, late.decided_at)
    assert late.p <= early.p <= 0.05


def test_one_row_says_nothing() -> None:
    got = paired_sequence(np.array([1.0]), np.array([0.0]))
    assert (got.decision, got.low, got.high) == ("not proven yet", -1.0, 1.0)
    assert got.p == 1.0


@pytest.mark.parametrize(
    ("scores", "arm", "share", "words"),
    [
        ([], [], 0.5, "at least one row"),
        ([0.5, 2.0], [True, False], 0.5, r"\[0, 1\]"),
        ([0.5], [True, False], 0.5, "must have an arm"),
        ([0.5], [True], 1.0, "share"),
        ([0.5] * 60, [True] * 60, 0.5, "about 50%"),
    ],
)
def test_bad_rows_are_refused(scores: list[float], arm: list[bool], share: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        randomised_sequence(np.array(scores), np.array(arm, dtype=bool), share)


def test_bad_alpha_and_unequal_pairs_are_refused() -> None:
    with pytest.raises(UserError, match="alpha"):
        paired_sequence(np.ones(2), np.ones(2), alpha=1.0)
    with pytest.raises(UserError, match="same rows"):
        paired_sequence(np.ones(2), np.ones(3))
