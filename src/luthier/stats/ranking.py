"""Bradley-Terry: how strong each candidate is, from who won which pairwise judgement.

One decision: a maximum exists only when every candidate can be reached from every other by a chain of wins (Ford 1957), so a
candidate that always or never won is refused with its name; nothing is added to the counts to hide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.core.errors import UserError
from luthier.stats.intervals import normal_quantile

_STEPS = 100


@dataclass(frozen=True, slots=True)
class Strength:
    """One candidate: its log-strength (the mean of all is 0), its interval, and the share of its comparisons that it won.

    exp(a - b) are the odds that a beats b; 400 / ln(10) times a log-strength is its Elo rating.
    """

    name: str
    value: float
    low: float
    high: float
    won: float
    n: int


def bradley_terry(names: Sequence[str], wins: np.ndarray, alpha: float = 0.05) -> list[Strength]:
    """Maximum-likelihood strengths, strongest first (Bradley and Terry, Biometrika 39 (1952) 324-345), with Wald intervals.

    wins: [k, k], row beats column; a tie is half a win for both. Raises UserError for counts below 0, fewer than two candidates,
    or wins that leave a group unbeaten (the maximum is then infinite).
    """
    counts = np.asarray(wins, dtype=np.float64)
    k = len(names)
    if k < 2 or counts.shape != (k, k) or not np.isfinite(counts).all() or (counts < 0).any() or np.diag(counts).any():
        raise UserError("wins must be a table of counts of at least two candidates, none against itself", f"{counts.shape} for {k} names")
    _check_connected(names, counts)
    values = _fit(counts)
    error = np.sqrt(np.diag(np.linalg.pinv(_information(counts, values), hermitian=True)))
    z = normal_quantile(1 - alpha / 2)
    played = counts.sum(1) + counts.sum(0)
    found = [
        Strength(name, float(v), float(v - z * e), float(v + z * e), float(w / n), round(n))
        for name, v, e, w, n in zip(names, values, error, counts.sum(1), played, strict=True)
    ]
    return sorted(found, key=lambda s: -s.value)


def _chance(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(values[None, :] - values[:, None]))


def _information(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Minus the second derivative of the log-likelihood: a graph Laplacian, singular along equal shifts of all strengths."""
    p = _chance(values)
    weight = (counts + counts.T) * p * (1 - p)
    return np.diag(weight.sum(1)) - weight


def _fit(counts: np.ndarray) -> np.ndarray:
    """Newton's steps on the log-likelihood, which is concave, halved where one overshoots."""
    both, values = counts + counts.T, np.zeros(len(counts))
    best = _log_likelihood(counts, values)
    for _ in range(_STEPS):
        slope = counts.sum(1) - (both * _chance(values)).sum(1)
        step = np.linalg.pinv(_information(counts, values), hermitian=True) @ slope
        while (new := _log_likelihood(counts, values + step)) < best - 1e-9 * abs(best):
            step /= 2
        values, best = values + step, new
        if np.abs(step).max() < 1e-10:
            break
    return values - values.mean()


def _log_likelihood(counts: np.ndarray, values: np.ndarray) -> float:
    return -float((counts * np.logaddexp(0, values[None, :] - values[:, None])).sum())


def _check_connected(names: Sequence[str], counts: np.ndarray) -> None:
    reach = (counts > 0) | np.eye(len(names), dtype=bool)
    for _ in range(len(names).bit_length()):
        reach = (reach.astype(np.float64) @ reach.astype(np.float64)) > 0
    if reach.all():
        return
    unreached = int(np.argmin(reach.sum(0)))  # beaten, directly or by a chain, by the fewest
    group = [name for name, mutual in zip(names, reach[unreached] & reach[:, unreached], strict=True) if mutual]
    raise UserError(
        "each candidate must have won and lost against the rest, directly or by a chain",
        f"nothing outside {', '.join(group)} ever beat {'it' if len(group) == 1 else 'them'}",
        fix="compare more pairs, or leave it out: its strength has no upper limit",
    )
