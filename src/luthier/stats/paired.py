"""Paired comparisons of two models on the same rows: exact McNemar, Tango's interval, bootstrap, permutation, Wilcoxon.

One decision: `first` is the tuned model and `second` what it is compared with, so a positive difference is a gain.
Permutation swaps a row's two answers (for a mean this is the sign-flip test), whole groups at once when rows have groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from luthier.core.errors import UserError
from luthier.stats.intervals import (
    Estimate,
    Resampling,
    Statistic,
    bca,
    checked_counts,
    chunks,
    cluster_totals,
    mean_of_counts,
    normal_quantile,
)

EXACT_PAIRS = 14


@dataclass(frozen=True, slots=True)
class PairedTable:
    """Right/wrong counts of two models on the same rows."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A two-sided p-value and the name of the test that gave it."""

    p: float
    test: str


def paired_table(first: np.ndarray, second: np.ndarray) -> PairedTable:
    """Count the four cells. Raises UserError for different lengths or values other than 0 and 1."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise UserError("both models must have one score per row", f"shapes {a.shape} and {b.shape}")
    if not (np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all()):
        raise UserError("right/wrong scores must be 0 or 1", "other values")
    x, y = a == 1, b == 1
    return PairedTable(int((x & y).sum()), int((x & ~y).sum()), int((~x & y).sum()), int((~x & ~y).sum()))


def mcnemar_exact(table: PairedTable) -> PairedTest:
    """Exact McNemar test: under the null the discordant rows are Binomial(b + c, 1/2); two-sided."""
    discordant = table.only_first + table.only_second
    if discordant == 0:
        return PairedTest(1.0, "exact McNemar")
    less = min(table.only_first, table.only_second)
    return PairedTest(float(min(1.0, 2 * scipy_stats.binom.cdf(less, discordant, 0.5))), "exact McNemar")


def wilcoxon(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Two-sided Wilcoxon signed-rank test of one score per row (scipy's; rows without a difference are ranked, Pratt 1959).

    It tests whether the differences lie symmetrically about zero, which is not the difference of the means: use it for scores
    whose ranks matter and whose sizes do not. Raises UserError for no rows, different lengths or values that are not finite.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError("both models must have one finite score per row, at least one row", f"shapes {a.shape} and {b.shape}")
    if (a == b).all():
        return PairedTest(1.0, "Wilcoxon signed-rank")
    found: Any = scipy_stats.wilcoxon(a, b, zero_method="pratt")
    return PairedTest(float(found.pvalue), "Wilcoxon signed-rank")


def tango(table: PairedTable, alpha: float = 0.05) -> Estimate:
    """Tango's score interval for a difference of paired proportions (Statistics in Medicine 17 (1998) 891-908).

    Its ends keep their error at alpha / 2 each where few rows differ and nearly all of them one way, which is where a margin of a
    few points is judged. At 0 its score is McNemar's, so it never holds 0 where the exact test is significant.
    """
    difference = (table.only_first - table.only_second) / table.n
    z2 = normal_quantile(1 - alpha / 2) ** 2

    def beyond(delta: float) -> float:
        return _score_squared(table, delta) - z2

    low = difference if difference == -1 else _crossing(beyond, -1.0, difference)
    high = difference if difference == 1 else _crossing(beyond, 1.0, difference)
    return Estimate(difference, low, high, table.n, "Tango paired score")


def _score_squared(table: PairedTable, delta: float) -> float:
    """Squared score statistic of the hypothesis that the difference is `delta`, from the restricted maximum likelihood."""
    n, gained, lost = table.n, table.only_first, table.only_second
    a, b = 2 * n, -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    only_second = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * only_second + delta * (1 - delta))
    distance = gained - lost - n * delta
    return 0.0 if distance == 0 else distance**2 / variance if variance > 1e-12 else math.inf


def _crossing(beyond: Callable[[float], float], outside: float, inside: float) -> float:
    """Where `beyond` turns from above 0 (at `outside`) to below 0 (at `inside`), by halving; `outside` where it never does."""
    if beyond(outside) <= 0:
        return outside
    for _ in range(60):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if beyond(middle) > 0 else (outside, middle)
    return inside


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Statistic = mean_of_counts,
    groups: Sequence[Hashable | None] | None = None,
    options: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Estimate:
    """BCa interval of `statistic(first) - statistic(second)`; a resampled row brings both answers. Counts are [n, k] each."""
    both, difference = stacked(first, second, statistic)
    estimate = bca(both, difference, groups, options, bounds=(-1.0, 1.0))
    name = estimate.method if "no spread" in estimate.method else f"paired {estimate.method}"
    return Estimate(estimate.value, estimate.low, estimate.high, estimate.n, name)


def stacked(first: np.ndarray, second: np.ndarray, statistic: Statistic) -> tuple[np.ndarray, Statistic]:
    """Counts side by side [n, 2k] and the statistic of their difference."""
    one, two = checked_counts(first), checked_counts(second)
    if one.shape != two.shape:
        raise UserError("both models must have counts for the same rows", f"shapes {one.shape} and {two.shape}")
    k = one.shape[1]

    def difference(totals: np.ndarray) -> np.ndarray:
        return statistic(totals[..., :k]) - statistic(totals[..., k:])

    return np.concatenate([one, two], axis=1), difference


def permutation(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Statistic = mean_of_counts,
    groups: Sequence[Hashable | None] | None = None,
    options: Resampling = Resampling(resamples=20_000),  # noqa: B008 - frozen
) -> PairedTest:
    """Two-sided paired permutation test of `statistic(first) - statistic(second)`. Counts are [n, k] each.

    All 2^m swaps of the m clusters whose counts differ are enumerated when m <= 14; otherwise `resamples` random
    swaps with p = (extreme + 1) / (resamples + 1) (Phipson and Smyth 2010).
    """
    both, difference = stacked(first, second, statistic)
    clusters = cluster_totals(both, groups)
    k = both.shape[1] // 2
    total = clusters.sum(axis=0)
    change = clusters[:, k:] - clusters[:, :k]
    change = change[(change != 0).any(axis=1)]
    observed = abs(float(difference(total)))
    tail = " over groups" if len(clusters) < len(both) else ""
    if len(change) == 0:
        return PairedTest(1.0, f"exact permutation{tail}")
    exact = len(change) <= EXACT_PAIRS
    rng = np.random.default_rng(options.seed)
    extreme, done, size_of_all = 0, 0, 2 ** len(change) if exact else options.resamples
    for size in chunks(size_of_all, len(change)):
        rows = np.arange(done, done + size)
        swaps = (rows[:, None] >> np.arange(len(change))) & 1 if exact else rng.integers(0, 2, size=(size, len(change)), dtype=np.int8)
        moved = swaps.astype(np.float64) @ change
        values = np.abs(difference(total + np.concatenate([moved, -moved], axis=1)))
        extreme += int((values >= observed - 1e-12).sum())
        done += size
    if exact:
        return PairedTest(extreme / size_of_all, f"exact permutation{tail}")
    return PairedTest((extreme + 1) / (size_of_all + 1), f"permutation{tail}")
