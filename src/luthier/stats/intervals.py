"""Confidence intervals: Wilson for a proportion, BCa bootstrap for anything that is a function of summed counts.

One decision: a statistic sees totals, not rows (`statistic(totals[..., k]) -> [...]`), which makes every
resample one matrix product. A sample without any spread gets an exact bound instead of an interval of width zero.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy import stats as scipy_stats

from luthier.core.errors import UserError

Statistic = Callable[[np.ndarray], np.ndarray]
"""Maps summed counts [..., k] to values [...]; must work on any leading shape."""

_CHUNK_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval at `1 - alpha`. `n` is the number of rows (not groups)."""

    value: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True, slots=True)
class Resampling:
    """How to resample: the same seed gives the same interval on every machine."""

    alpha: float = 0.05
    resamples: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError("`0 < alpha < 1` must hold", self.alpha)
        if self.resamples < 100:
            raise UserError("`resamples >= 100` must hold", self.resamples)


def normal_quantile(p: float) -> float:
    """The p-quantile of the standard normal distribution."""
    return float(special.ndtri(p))


def wilson(successes: float, n: int, alpha: float = 0.05) -> Estimate:
    """Wilson score interval of a proportion (Wilson 1927), without continuity correction.

    Raises UserError for n = 0 or successes outside 0..n.
    """
    if n < 1:
        raise UserError("at least one row is needed for an interval", f"{n} rows")
    if not 0 <= successes <= n:
        raise UserError(f"successes must lie in 0..{n}", successes)
    z2 = normal_quantile(1 - alpha / 2) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else float(max(0.0, centre - half))
    high = 1.0 if successes == n else float(min(1.0, centre + half))
    return Estimate(p, low, high, n, "Wilson")


def median_interval(values: np.ndarray, alpha: float = 0.05) -> Estimate:
    """The median with the interval between two order statistics (exact by the binomial, so it covers at least 1 - alpha).

    Raises UserError for fewer than 6 values at alpha 0.05 (in general: when even the extremes cover less than 1 - alpha).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    skipped = int(scipy_stats.binom.ppf(alpha / 2, n, 0.5)) if n else 0
    while skipped > 0 and scipy_stats.binom.cdf(skipped - 1, n, 0.5) > alpha / 2:
        skipped -= 1
    if skipped < 1:
        least = int(np.ceil(1 - np.log2(alpha)))
        raise UserError(f"at least {least} values are needed for an interval of the median", n)
    return Estimate(float(np.median(ordered)), float(ordered[skipped - 1]), float(ordered[n - skipped]), n, "order statistics")


def mean_of_counts(totals: np.ndarray) -> np.ndarray:
    """The statistic of a plain mean: totals are (sum of scores, number of rows)."""
    return totals[..., 0] / totals[..., 1]


def mean_counts(scores: np.ndarray) -> np.ndarray:
    """Per-row counts [n, 2] of a plain mean."""
    return np.stack([scores, np.ones_like(scores)], axis=1)


def cluster_totals(counts: np.ndarray, groups: Sequence[Hashable | None] | None) -> np.ndarray:
    """Sum the counts [n, k] of rows that share a group -> [clusters, k]; a row whose group is None stands alone."""
    if groups is None:
        return counts
    if len(groups) != len(counts):
        raise UserError("there must be one group per row", f"{len(groups)} groups for {len(counts)} rows")
    index: dict[object, int] = {}
    where = np.array([index.setdefault(("row", i) if g is None else ("group", g), len(index)) for i, g in enumerate(groups)])
    if len(index) == len(counts):
        return counts
    totals = np.zeros((len(index), counts.shape[1]))
    np.add.at(totals, where, counts)
    return totals


def checked_counts(counts: np.ndarray) -> np.ndarray:
    """Counts as float64 [n, k]. Raises UserError when there are no rows or a value is not finite."""
    array = np.asarray(counts, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] == 0:
        raise UserError("at least one row is needed for an interval", f"shape {array.shape}")
    if not np.isfinite(array).all():
        raise UserError("every score must be a finite number", "NaN or infinity")
    return array


def jackknife(clusters: np.ndarray, statistic: Statistic) -> np.ndarray:
    """The statistic with each cluster left out in turn [clusters]; a value that is undefined becomes the full value."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistic(clusters.sum(axis=0) - clusters)
    return np.where(np.isfinite(values), values, float(statistic(clusters.sum(axis=0))))


def standard_error(clusters: np.ndarray, statistic: Statistic) -> float:
    """Jackknife standard error; for a mean it equals sd / sqrt(n)."""
    n = len(clusters)
    left_out = jackknife(clusters, statistic)
    return float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))


def bca(
    counts: np.ndarray,
    statistic: Statistic = mean_of_counts,
    groups: Sequence[Hashable | None] | None = None,
    options: Resampling = Resampling(),
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987) of `statistic` over rows, or over groups of rows.

    counts: [n, k] per-row sufficient counts; `bounds`: the least and greatest value that the statistic can have.
    A sample whose resamples are all equal, or so nearly that the interval has no width, gets `no_spread_interval`.
    """
    counts = checked_counts(counts)
    clusters = cluster_totals(counts, groups)
    value = float(statistic(clusters.sum(axis=0)))
    draws, rounding = bootstrap(clusters, statistic, options), 1e-12 * max(1.0, abs(value))
    low, high = (value, value) if np.ptp(draws) <= rounding else bca_limits(draws, value, jackknife(clusters, statistic), options.alpha)
    if max(abs(low - value), abs(high - value)) <= rounding:
        low, high = no_spread_interval(value, len(clusters), bounds, options.alpha)
        return Estimate(value, low, high, len(counts), "exact bound (no spread)")
    return Estimate(value, min(low, value), max(high, value), len(counts), "BCa bootstrap" + ("" if groups is None else " over groups"))


def bca_limits(draws: np.ndarray, value: float, left_out: np.ndarray, alpha: float) -> tuple[float, float]:
    """The BCa ends of resampled `draws` of a statistic with the full value `value`, from the figure with each cluster left out."""
    size = len(draws)
    close = np.abs(draws - value) <= 1e-12 * max(1.0, abs(value))
    below = ((draws < value) & ~close).sum() + 0.5 * close.sum()
    z0 = normal_quantile(float(np.clip(below / size, 0.5 / size, 1 - 0.5 / size)))
    d = left_out.mean() - left_out
    spread = (d**2).sum()
    acceleration = 0.0 if spread == 0 else float((d**3).sum() / (6 * spread**1.5))
    limits = []
    for p in (alpha / 2, 1 - alpha / 2):
        z = z0 + normal_quantile(p)
        bottom = 1 - acceleration * z
        adjusted = float(special.ndtr(z0 + z / bottom)) if bottom > 0 else float(p > 0.5)
        limits.append(float(np.quantile(draws, min(max(adjusted, 0.0), 1.0))))
    return limits[0], limits[1]


def no_spread_interval(value: float, n: int, bounds: tuple[float, float], alpha: float) -> tuple[float, float]:
    """What `n` equal scores still allow: rows of an unseen kind may have a share of up to 1 - (alpha/2)^(1/n).

    (Clopper and Pearson's bound for zero events.) Such rows may score anything within `bounds`, which are widened to hold the value.
    """
    bounds = (min(bounds[0], value), max(bounds[1], value))
    share = 1 - (alpha / 2) ** (1 / n)
    return value - share * (value - bounds[0]), value + share * (bounds[1] - value)


def bootstrap(clusters: np.ndarray, statistic: Statistic, options: Resampling) -> np.ndarray:
    """The statistic of `options.resamples` samples of clusters drawn with replacement [resamples]."""
    rng = np.random.default_rng(options.seed)
    n = len(clusters)
    pieces = []
    for size in chunks(options.resamples, n):
        picks = rng.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        weights = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            pieces.append(statistic(weights @ clusters))
    draws = np.concatenate(pieces)
    full = float(statistic(clusters.sum(axis=0)))
    return np.where(np.isfinite(draws), draws, full)


def chunks(total: int, width: int) -> Iterator[int]:
    """Split `total` resamples of `width` cells into pieces of bounded memory."""
    step = max(1, _CHUNK_CELLS // max(width, 1))
    for start in range(0, total, step):
        yield min(step, total - start)
