"""The verdict: is the tuned model better than its opponent on the same sealed rows?

One decision: *better* needs both p < alpha and an interval above zero; *worse* is the mirror; everything else is
*not proven* and says how small a gain this many rows could have shown at 80 % power. Scores lie in [0, 1], higher is
better; for a lower-is-better score swap the two arguments.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from luthier.core.errors import UserError
from luthier.stats.intervals import (
    Estimate,
    Resampling,
    Statistic,
    checked_counts,
    cluster_totals,
    mean_counts,
    mean_of_counts,
    standard_error,
)
from luthier.stats.paired import PairedTest, mcnemar_exact, paired_bootstrap, paired_table, permutation, stacked, tango
from luthier.stats.power import detectable_gain, detectable_mean, rows_for_gain

Decision = Literal["better", "not proven", "worse"]
POWER = 0.8


@dataclass(frozen=True, slots=True)
class VerdictResult:
    """The comparison in numbers. effect = tuned - baseline; interval at 1 - alpha; scores are shares of 1.

    `minimum_detectable_effect` is 1.0, the largest gain there is, when no gain could have been shown (`detectable` is False).
    """

    decision: Decision
    tuned: float
    baseline: float
    effect: float
    interval: tuple[float, float]
    p: float
    test: str
    interval_method: str
    num_rows: int
    minimum_detectable_effect: float
    detectable: bool
    alpha: float

    @property
    def sentence(self) -> str:
        return self.describe()

    def describe(self, metric: str = "score", opponent: str = "the baseline", *, share: bool = True) -> str:
        """The verdict in one or two plain sentences with its numbers; `metric` and `opponent` name what was compared.

        share: the metric is one, in per cent and points; otherwise a plain number.
        """
        words = _SHARE if share else _NUMBER
        low, high = self.interval
        rows = "1 paired row" if self.num_rows == 1 else f"{self.num_rows:,} paired rows"
        numbers = (
            f"{metric} {words.value(self.tuned)} against {words.value(self.baseline)} for {opponent} on {rows}: {words.gain(self.effect)} "
            f"({100 * (1 - self.alpha):g} % interval {words.signed(low)} to {words.signed(high)}; {self.test}, {_p(self.p)})."
        )
        if self.decision != "not proven":
            return f"{self.decision.capitalize()}: {numbers}"
        if not self.detectable:
            fewest = rows_for_gain(1.0, 1.0, self.alpha, POWER)
            wanted = f"this test needs at least {fewest}" if self.num_rows < fewest else "use more test rows"
            return f"Not proven: {numbers} So few rows cannot show any gain: {wanted}."
        least = words.size(self.minimum_detectable_effect)
        return f"Not proven: {numbers} This many rows would show a gain of {least} or more with a chance of {100 * POWER:.0f} %."


@dataclass(frozen=True, slots=True)
class _Words:
    """A figure and a difference in words: times `factor`, to `digits` decimals, in `unit` and (a difference) in `points`."""

    factor: float
    digits: int
    unit: str
    points: str
    least: str

    def value(self, x: float) -> str:
        return f"{self.factor * x:.{self.digits}f}{self.unit}"

    def signed(self, x: float) -> str:
        return f"{self.factor * x:+.{self.digits}f}"

    def size(self, x: float) -> str:
        return f"{self.factor * abs(x):.{self.digits}f}{self.points}"

    def gain(self, x: float) -> str:
        if round(self.factor * x, self.digits) == 0:
            return f"no difference to a {self.least}"
        return f"{'a gain' if x > 0 else 'a loss'} of {self.size(x)}"


_SHARE = _Words(100, 1, " %", " points", "tenth of a point")
_NUMBER = _Words(1, 3, "", "", "thousandth")


def _p(p: float) -> str:
    return f"p = {p:.1e}" if p < 0.001 else f"p = {p:.3f}"


def judge(
    tuned: np.ndarray,
    baseline: np.ndarray,
    kind: Literal["binary", "mean"] | Statistic = "binary",
    alpha: float = 0.05,
    groups: Sequence[Hashable | None] | None = None,
    seed: int = 0,
) -> VerdictResult:
    """Compare two models row by row.

    kind `binary`: scores [n] of 0 and 1, exact McNemar and Tango's interval; `mean`: scores [n] in [0, 1], paired BCa
    bootstrap with a permutation p; a statistic: counts [n, k], for metrics such as macro F1. With `groups`, related rows are
    resampled and swapped together, and right/wrong scores are then judged as means, since McNemar assumes independent rows.
    Raises UserError for no rows, different lengths, NaN, or scores outside [0, 1].
    """
    if not 0 < alpha < 1:
        raise UserError("`0 < alpha < 1` must hold", alpha)
    one, two, statistic = _as_counts(tuned, baseline, kind)
    grouped = groups is not None and len(cluster_totals(one, groups)) < len(one)
    if kind == "binary" and not grouped:
        return _judge_binary(tuned, baseline, alpha)
    used = groups if grouped else None
    interval = paired_bootstrap(one, two, statistic, used, Resampling(alpha, 5000, seed))
    test = permutation(one, two, statistic, used, Resampling(alpha, 20_000, seed))
    values = float(statistic(one.sum(axis=0))), float(statistic(two.sum(axis=0)))
    both, difference = stacked(one, two, statistic)
    clusters = cluster_totals(both, used)
    error = standard_error(clusters, difference)
    least = detectable_mean(error, len(clusters), alpha, POWER) if error > 0 else detectable_gain(len(clusters), 0.0, alpha, POWER)
    return _result(values, interval, test, alpha, least)


def _judge_binary(tuned: np.ndarray, baseline: np.ndarray, alpha: float) -> VerdictResult:
    table = paired_table(tuned, baseline)
    discordance = (table.only_first + table.only_second) / table.n
    values = (table.both + table.only_first) / table.n, (table.both + table.only_second) / table.n
    least = detectable_gain(table.n, discordance, alpha, POWER)
    return _result(values, tango(table, alpha), mcnemar_exact(table), alpha, least)


def _result(values: tuple[float, float], interval: Estimate, test: PairedTest, alpha: float, least: float) -> VerdictResult:
    decision: Decision = "not proven"
    if test.p < alpha and interval.low > 0:
        decision = "better"
    elif test.p < alpha and interval.high < 0:
        decision = "worse"
    return VerdictResult(
        decision=decision,
        tuned=values[0],
        baseline=values[1],
        effect=interval.value,
        interval=(interval.low, interval.high),
        p=test.p,
        test=test.test,
        interval_method=interval.method,
        num_rows=interval.n,
        minimum_detectable_effect=min(1.0, least),
        detectable=least <= 1,
        alpha=alpha,
    )


def _as_counts(tuned: np.ndarray, baseline: np.ndarray, kind: str | Statistic) -> tuple[np.ndarray, np.ndarray, Statistic]:
    a, b = np.asarray(tuned, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.shape != b.shape:
        raise UserError("both models must be scored on the same rows", f"shapes {a.shape} and {b.shape}")
    if len(a) == 0:
        raise UserError("at least one test row is needed for a verdict", "0 rows")
    if callable(kind):
        return checked_counts(a), checked_counts(b), kind
    if kind not in ("binary", "mean"):
        raise UserError("`kind` must be binary, mean or a statistic", repr(kind))
    if a.ndim != 1:
        raise UserError("scores must be one number per row", f"shape {a.shape}")
    one, two = checked_counts(mean_counts(a)), checked_counts(mean_counts(b))
    if a.min() < 0 or a.max() > 1 or b.min() < 0 or b.max() > 1:
        raise UserError("scores must lie in [0, 1]", f"{min(a.min(), b.min()):g} to {max(a.max(), b.max()):g}")
    return one, two, mean_of_counts
