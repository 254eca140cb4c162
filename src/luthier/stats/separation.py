"""Two samples told apart by a score: the area under the ROC curve with an interval, and canary exposure with its exact test.

One decision: both intervals hold at their ends too (everything told apart, every canary first), where a normal interval has
no width: that is where memorisation is found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special
from scipy import stats as scipy_stats

from luthier.core.errors import UserError
from luthier.stats.intervals import Estimate, bca, mean_counts, normal_quantile

EDGE = 1e-9
"""Keeps the search off the value itself, which solves the equation too where everything is told apart."""


def auc(positive: np.ndarray, negative: np.ndarray, alpha: float = 0.05) -> Estimate:
    """The share of pairs in which the positive scores higher (a tie counts half), with Newcombe's interval.

    Newcombe 2006, Statistics in Medicine 25:559, method 5: the variance of Hanley and McNeil (1982) at the limit itself.
    n is the number of both samples together. Raises UserError for an empty sample or a score that is not finite.
    """
    x, y = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    if len(x) == 0 or len(y) == 0:
        raise UserError("both samples must have rows", f"{len(x)} and {len(y)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("every score must be a finite number", "NaN or infinity")
    ranks = scipy_stats.rankdata(np.concatenate([x, y]))[: len(x)]
    value = float((ranks.sum() - len(x) * (len(x) + 1) / 2) / (len(x) * len(y)))
    z = normal_quantile(1 - alpha / 2)

    def below(at: float) -> float:
        return value - at - z * _spread(at, len(x), len(y))

    def above(at: float) -> float:
        return at - value - z * _spread(at, len(x), len(y))

    low = 0.0 if value == 0 else float(optimize.brentq(below, 0.0, value - EDGE * value))  # type: ignore[arg-type]
    high = 1.0 if value == 1 else float(optimize.brentq(above, value + EDGE * (1 - value), 1.0))  # type: ignore[arg-type]
    return Estimate(value, low, high, len(x) + len(y), "Newcombe AUC")


def _spread(at: float, m: int, n: int) -> float:
    half = (m + n) / 2 - 1
    return math.sqrt(at * (1 - at) / (m * n) * (1 + half * (1 - at) / (2 - at) + half * at / (1 + at)))


@dataclass(frozen=True, slots=True)
class ExposureResult:
    """Mean exposure of canaries in bits. chance: what never-seen ones have on average; most: what a rank of 1 gives.

    p: of the hypothesis that no canary was learned.
    """

    exposure: Estimate
    chance: float
    most: float
    p: float


def exposure(ranks: np.ndarray, num_references: int, alpha: float = 0.05) -> ExposureResult:
    """Exposure of planted canaries: log2 |R| - log2 rank, R the canary and its references (Carlini and others 2019, section 4.3).

    ranks: int [num_canaries], from 1 (more likely than every reference). Each canary has references of its own, so that
    rank / |R| is an exact p-value of each; they are put together by Fisher's method. Raises UserError for a rank out of range.
    """
    size = num_references + 1
    found = np.asarray(ranks, dtype=np.float64)
    if len(found) == 0 or found.min() < 1 or found.max() > size:
        raise UserError(f"ranks must lie in 1..{size}", found.tolist())
    bits = np.log2(size) - np.log2(found)
    mean = bca(mean_counts(bits), bounds=(0.0, math.log2(size)))
    p = float(scipy_stats.chi2.sf(-2 * np.log(found / size).sum(), 2 * len(found)))
    chance = math.log2(size) - float(special.gammaln(size + 1)) / math.log(2) / size
    return ExposureResult(mean, chance, math.log2(size), p)
