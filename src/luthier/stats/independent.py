"""Two samples of different rows: the difference of their figures with its interval.

One decision: rows of another kind are other rows, so nothing is paired; what the two samples have in common is the model alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from luthier.stats.intervals import (
    Estimate,
    Resampling,
    Statistic,
    bca_limits,
    bootstrap,
    checked_counts,
    cluster_totals,
    jackknife,
    no_spread_interval,
    wilson,
)

Groups = Sequence[Hashable | None] | None


def newcombe_independent(first: tuple[float, int], second: tuple[float, int], alpha: float = 0.05) -> Estimate:
    """p1 - p2 of (successes, n) each: method 10 of Newcombe, Statistics in Medicine 17 (1998) 873-890 (Wilson limits, joined).

    `n` of the result is that of both samples together. Raises UserError as `wilson`.
    """
    one, two = wilson(*first, alpha), wilson(*second, alpha)
    down = np.hypot(one.value - one.low, two.high - two.value)
    up = np.hypot(one.high - one.value, two.value - two.low)
    difference = one.value - two.value
    low, high = float(max(-1.0, difference - down)), float(min(1.0, difference + up))
    return Estimate(difference, low, high, first[1] + second[1], "Newcombe, two samples")


def two_sample_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Statistic,
    groups: tuple[Groups, Groups] = (None, None),
    options: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Estimate:
    """BCa interval of `statistic(first) - statistic(second)`, each sample resampled by itself. Counts are [n1, k] and [n2, k].

    With groups, whole groups are resampled. Corpus counts may have different columns in the two samples.
    """
    sides = [cluster_totals(checked_counts(counts), of) for counts, of in zip((first, second), groups, strict=True)]
    values = [float(statistic(side.sum(axis=0))) for side in sides]
    seeds = np.random.SeedSequence(options.seed).generate_state(2)
    draws = [
        bootstrap(side, statistic, Resampling(options.alpha, options.resamples, int(seed))) for side, seed in zip(sides, seeds, strict=True)
    ]
    difference, n = values[0] - values[1], len(first) + len(second)
    apart = draws[0] - draws[1]
    if np.ptp(apart) <= 1e-12 * max(1.0, abs(difference)):
        low, high = no_spread_interval(difference, min(map(len, sides)), (-1.0, 1.0), options.alpha)
        return Estimate(difference, low, high, n, "exact bound (no spread)")
    influence = [_influence(jackknife(side, statistic), sign) for side, sign in zip(sides, (1.0, -1.0), strict=True)]
    low, high = bca_limits(apart, difference, np.concatenate(influence), options.alpha)
    return Estimate(difference, min(low, difference), max(high, difference), n, "two-sample BCa bootstrap")


def _influence(left_out: np.ndarray, sign: float) -> np.ndarray:
    """The figure with each cluster left out, scaled by 1 / n so that samples of different sizes weigh as they should.

    The acceleration of several samples is sum(l^3 / n^3) / (6 sum(l^2 / n^2)^1.5), l being (n - 1) (mean - left out) (Davison and
    Hinkley 1997, section 5.3.2); `bca_limits` takes mean - value as l, so what is handed over has mean 0 and is minus l / n.
    """
    n = len(left_out)
    return sign * (left_out - left_out.mean()) * (n - 1) / n
