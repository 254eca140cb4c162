"""A/B tests that may be looked at after every row and stopped at will: always-valid intervals and p-values by betting.

One decision: the hedged-capital confidence sequence of Waudby-Smith and Ramdas (JRSS B 86 (2024) 1-27, theorem 3), because it
holds exactly at every n for scores in a known range: a bettor against the mean m gets rich with chance at most alpha if m is true.
It is wider than a fixed-n interval by design: that is what looking at will costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats as scipy_stats

from luthier.core.errors import UserError

TRUNCATION = 0.5
TOLERANCE = 1e-5
MISMATCH = 1e-6


@dataclass(frozen=True, slots=True)
class Sequential:
    """What `n` rows say so far; effect = candidate - current. `decided_at`: rows after which it was first decided, or None.

    A decision stands once it is made, p is the least so far, and the interval is that of all rows so far.
    """

    decision: Literal["better", "not proven yet", "worse"]
    effect: float
    low: float
    high: float
    p: float
    n: int
    decided_at: int | None


def paired_sequence(candidate: np.ndarray, current: np.ndarray, alpha: float = 0.05) -> Sequential:
    """Both versions answered every row (shadow traffic). Scores [n] in [0, 1], in the order in which they came."""
    a, b = _scores(candidate), _scores(current)
    if a.shape != b.shape:
        raise UserError("both versions must be scored on the same rows", f"{len(a)} and {len(b)} rows")
    return _judged(a - b, 1.0, alpha)


def randomised_sequence(scores: np.ndarray, is_candidate: np.ndarray, share: float = 0.5, alpha: float = 0.05) -> Sequential:
    """Each row was answered by the candidate with chance `share`, else by the current version. Scores [n] in [0, 1], in order.

    A row tells its score weighted by the inverse chance of its arm, around the arms' means before it, so the mean is the effect
    whatever the scores. Raises UserError when the arms' sizes contradict `share` (p < 1e-6): the draw was then not as declared.
    """
    y, arm = _scores(scores), np.asarray(is_candidate, dtype=bool)
    if arm.shape != y.shape:
        raise UserError("each score must have an arm", f"{len(y)} scores and {arm.shape} arms")
    if not 0 < share < 1:
        raise UserError("`0 < share < 1` must hold", share)
    if scipy_stats.binomtest(int(arm.sum()), len(arm), share).pvalue < MISMATCH:
        raise UserError(f"the candidate must get about {share:.0%} of the rows", f"{arm.mean():.1%} of {len(arm)}", "A/B test")
    ones, twos = _means_before(y, arm), _means_before(y, ~arm)
    effects = ones - twos + np.where(arm, (y - ones) / share, -(y - twos) / (1 - share))
    return _judged(effects, 1 / min(share, 1 - share), alpha)


def _scores(values: np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0 or not ((array >= 0) & (array <= 1)).all():
        raise UserError("scores must be one number in [0, 1] per row, at least one row", f"shape {array.shape}")
    return array


def _means_before(y: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """The mean of an arm's scores before each row [n], begun with one score of 1/2."""
    total, n = np.cumsum(np.where(mine, y, 0.0)), np.cumsum(mine)
    return (0.5 + np.concatenate([[0.0], total[:-1]])) / (1 + np.concatenate([[0], n[:-1]]))


def _judged(effects: np.ndarray, reach: float, alpha: float) -> Sequential:
    """effects [n] lie in [-reach, reach]; no difference is the middle of that range."""
    if not 0 < alpha < 1:
        raise UserError("`0 < alpha < 1` must hold", alpha)
    scaled = (effects + reach) / (2 * reach)
    rich = math.log(2 / alpha)  # each side of the hedge holds half of the capital
    up, down = capital(scaled, 0.5, alpha)
    wealth = np.maximum(up, down)
    passed = np.flatnonzero(wealth >= rich)
    decision: Literal["better", "not proven yet", "worse"] = "not proven yet"
    if len(passed):
        decision = "better" if up[passed[0]] >= rich else "worse"
    p = min(1.0, 2 * math.exp(-max(0.0, float(wealth.max()))))
    low, high = ((2 * end - 1) * reach for end in _interval(scaled, rich, alpha))
    decided_at = int(passed[0]) + 1 if len(passed) else None
    return Sequential(decision, float(effects.mean()), max(-1.0, low), min(1.0, high), p, len(effects), decided_at)


def _interval(values: np.ndarray, rich: float, alpha: float) -> tuple[float, float]:
    """The means against which nobody is rich after the last row: the bet above m only loses as m grows, so a bisection finds it."""
    refuted, open_ = 0.0, 1.0
    while open_ - refuted > TOLERANCE:
        middle = (refuted + open_) / 2
        refuted, open_ = (middle, open_) if capital(values, middle, alpha)[0][-1] >= rich else (refuted, middle)
    low, refuted, open_ = refuted, 1.0, 0.0
    while refuted - open_ > TOLERANCE:
        middle = (refuted + open_) / 2
        refuted, open_ = (middle, open_) if capital(values, middle, alpha)[1][-1] >= rich else (refuted, middle)
    return low, refuted


def capital(values: np.ndarray, mean: float, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-capital after each row [n] of the bets that the mean of `values` [n] in [0, 1] is above, and below, `mean`.

    The stake at row t is a function of the rows before it alone (the paper's equations 24 to 26).
    """
    stake, gap = _stakes(values, alpha), values - mean
    up = np.log1p(np.minimum(stake, TRUNCATION / mean) * gap).cumsum()
    return up, np.log1p(-np.minimum(stake, TRUNCATION / (1 - mean)) * gap).cumsum()


def _stakes(values: np.ndarray, alpha: float) -> np.ndarray:
    t = np.arange(1, len(values) + 1)
    mean = (0.5 + values.cumsum()) / (t + 1)
    variance = (0.25 + ((values - mean) ** 2).cumsum()) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    return np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log(t + 1)))
