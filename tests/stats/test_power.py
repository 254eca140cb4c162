"""Power against statsmodels, direct enumeration and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestPower

from luthier.core.errors import UserError
from luthier.stats.power import detectable_gain, detectable_mean, mcnemar_power, mean_power, rows_for_gain, rows_for_mean


def _enumerated(n: int, gain: float, discordance: float, alpha: float) -> float:
    """P(significant win) over every pair of discordant counts: the slow twin."""
    win, lose = (discordance + gain) / 2, (discordance - gain) / 2
    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            if b > c and 2 * scipy_stats.binom.cdf(c, b + c, 0.5) < alpha:
                total += scipy_stats.multinomial.pmf([b, c, n - b - c], n, [win, lose, 1 - win - lose])
    return total


@pytest.mark.parametrize(("n", "gain", "discordance"), [(8, 0.5, 0.6), (20, 0.3, 0.4), (30, 0.2, 0.2)])
def test_mcnemar_power_equals_enumeration(n: int, gain: float, discordance: float) -> None:
    assert mcnemar_power(n, gain, discordance) == pytest.approx(_enumerated(n, gain, discordance, 0.05), abs=1e-7)


def test_no_gain_is_found_at_most_half_alpha() -> None:
    assert mcnemar_power(500, 0.0, 0.3) <= 0.025
    assert mcnemar_power(500, 0.0, 0.0) == 0.0


@pytest.mark.parametrize(("n", "discordance"), [(24, 0.3), (240, 0.2), (240, 0.0), (3080, 0.15)])
def test_the_detectable_gain_has_the_power_asked_for(n: int, discordance: float) -> None:
    gain = detectable_gain(n, discordance)
    assert mcnemar_power(n, gain, discordance) >= 0.8
    assert mcnemar_power(n, gain - 2e-4, discordance) < 0.8


def test_five_rows_can_show_nothing_and_six_can() -> None:
    assert detectable_gain(5, 0.2) == math.inf
    assert 0 < detectable_gain(6, 0.2) <= 1


def test_more_rows_show_smaller_gains() -> None:
    gains = [detectable_gain(n, 0.25) for n in (50, 200, 800, 3200)]
    assert gains == sorted(gains, reverse=True)
    assert gains[1] / gains[3] == pytest.approx(4, rel=0.25)


def test_rows_for_gain_is_enough_and_not_wasteful() -> None:
    n = rows_for_gain(0.1, 0.3)
    assert mcnemar_power(n, 0.1, 0.3) >= 0.8
    assert mcnemar_power(int(0.95 * n), 0.1, 0.3) < 0.8
    # Connor (1987), Biometrics 43, 207-211: the normal approximation is a little below the exact number.
    approximate = (1.959964 * math.sqrt(0.3) + 0.841621 * math.sqrt(0.3 - 0.01)) ** 2 / 0.01
    assert approximate < n < 1.1 * approximate


def test_mean_power_equals_statsmodels() -> None:
    for n, d in ((10, 0.5), (50, 0.3), (400, 0.1)):
        want = TTestPower().power(d, n, 0.05, alternative="two-sided")
        wrong_side = scipy_stats.nct.cdf(scipy_stats.t.ppf(0.025, n - 1), n - 1, d * math.sqrt(n))
        assert mean_power(d * math.sqrt(n), n - 1) == pytest.approx(want - wrong_side, abs=1e-9)


def test_detectable_mean_equals_statsmodels() -> None:
    sd, n = 0.4, 60
    want = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided")
    assert detectable_mean(sd / math.sqrt(n), n) == pytest.approx(want * sd, rel=1e-4)
    assert detectable_mean(0.1, 1) == math.inf


def test_rows_for_mean_equals_statsmodels() -> None:
    want = TTestPower().solve_power(effect_size=0.05 / 0.4, alpha=0.05, power=0.8, alternative="two-sided")
    assert rows_for_mean(0.05, 0.4) == math.ceil(float(np.ravel(want)[0]))


@pytest.mark.parametrize("gain", [0.0, -0.1, 1.5])
def test_impossible_gains_are_refused(gain: float) -> None:
    with pytest.raises(UserError):
        rows_for_gain(gain, 0.3)


def test_a_gain_too_small_for_any_test_set_is_refused() -> None:
    with pytest.raises(UserError, match="large enough"):
        rows_for_mean(1e-6, 1.0)
