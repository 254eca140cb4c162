"""How small a gain a number of rows can show, and how many rows a gain needs.

One decision: right/wrong power is exact: it averages the exact McNemar test over the number of discordant rows, under the
discordance given (the share of rows on which the models differ), which is the one assumption the answer rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize
from scipy import stats as scipy_stats

from luthier.core.errors import UserError

MOST_ROWS = 10_000_000


def mcnemar_power(n: int, gain: float, discordance: float, alpha: float = 0.05) -> float:
    """Chance that the two-sided exact McNemar test finds a true `gain` of the first model, in its favour.

    gain: difference of the shares right, in [0, 1]; discordance: share of rows where only one model is right;
    it is raised to `gain` where it is smaller, because a gain cannot exceed it.
    """
    if n < 1 or not 0 <= gain <= 1 or not 0 <= discordance <= 1 or not 0 < alpha < 1:
        raise UserError("`n >= 1`, gain and discordance in [0, 1] and alpha in (0, 1) must hold", (n, gain, discordance, alpha))
    discordance = max(discordance, gain)
    if discordance == 0:
        return 0.0
    low, high = scipy_stats.binom.ppf([1e-9, 1 - 1e-9], n, discordance).astype(int)
    pairs = np.arange(max(low, 1), high + 1)
    # The fewest wins that are significant: P(Binomial(m, 1/2) >= wins) <= alpha / 2.
    wins = scipy_stats.binom.isf(alpha / 2, pairs, 0.5) + 1
    wins = np.where(2 * scipy_stats.binom.sf(wins - 1, pairs, 0.5) < alpha, wins, wins + 1)
    chance_of_win = (discordance + gain) / (2 * discordance)
    return float((scipy_stats.binom.pmf(pairs, n, discordance) * scipy_stats.binom.sf(wins - 1, pairs, chance_of_win)).sum())


def detectable_gain(n: int, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true gain in share right that `n` rows show with the given power; infinity when none can be shown."""
    if mcnemar_power(n, 1.0, 1.0, alpha) < power:
        return math.inf
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if mcnemar_power(n, middle, discordance, alpha) >= power else (middle, high)
    return high


def rows_for_gain(gain: float, discordance: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Fewest rows (to within the saw-tooth of an exact test) that show `gain` with the given power."""
    if not 0 < gain <= 1:
        raise UserError("`0 < gain <= 1` must hold", gain)
    return _fewest(lambda n: mcnemar_power(n, gain, discordance, alpha) >= power, gain)


def mean_power(effect_in_errors: float, degrees: int, alpha: float = 0.05) -> float:
    """Chance that a two-sided paired t test finds an effect of `effect_in_errors` standard errors, in its favour."""
    critical = scipy_stats.t.ppf(1 - alpha / 2, degrees)
    return float(scipy_stats.nct.sf(critical, degrees, effect_in_errors))


def detectable_mean(standard_error: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true mean difference that `n` rows (or groups) with this standard error show; infinity when n < 2."""
    if n < 2:
        return math.inf
    if standard_error < 0:
        raise UserError("`standard_error >= 0` must hold", standard_error)
    solved = optimize.root_scalar(lambda errors: mean_power(errors, n - 1, alpha) - power, bracket=(0.0, 200.0), xtol=1e-10)
    return float(solved.root) * standard_error


def rows_for_mean(gain: float, sd: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Fewest rows that show a mean difference of `gain` when the differences have standard deviation `sd`."""
    if gain <= 0 or sd <= 0:
        raise UserError("`gain > 0` and `sd > 0` must hold", (gain, sd))
    return _fewest(lambda n: n >= 2 and mean_power(gain * math.sqrt(n) / sd, n - 1, alpha) >= power, gain)


def _fewest(enough: Callable[[int], bool], gain: float) -> int:
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST_ROWS:
            raise UserError(f"the gain must be large enough to show with {MOST_ROWS:,} rows", gain)
    low = 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
