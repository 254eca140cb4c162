"""Bars are judged on interval ends: three answers, and a bar that does not hold is rarely called met."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from luthier.stats.bars import BarKind, Outcome, judge_bar
from luthier.stats.intervals import wilson
from luthier.stats.paired import PairedTable, tango


@pytest.mark.parametrize(
    ("kind", "bar", "low", "high", "outcome"),
    [
        ("at_least", 0.8, 0.8, 0.9, "met"),
        ("at_least", 0.8, 0.79, 0.95, "not proven"),
        ("at_least", 0.8, 0.6, 0.8, "not proven"),
        ("at_least", 0.8, 0.6, 0.79, "not met"),
        ("at_most", 0.1, 0.02, 0.1, "met"),
        ("at_most", 0.1, 0.02, 0.11, "not proven"),
        ("at_most", 0.1, 0.11, 0.2, "not met"),
        ("no_worse_than", 0.02, -0.02, 0.1, "met"),
        ("no_worse_than", 0.02, -0.03, 0.1, "not proven"),
        ("no_worse_than", 0.02, -0.2, -0.03, "not met"),
        ("no_worse_than", 0.0, 0.0, 0.1, "met"),
    ],
)
def test_the_ends_decide(kind: BarKind, bar: float, low: float, high: float, outcome: Outcome) -> None:
    assert judge_bar(kind, bar, low, high) == outcome


def test_a_bar_that_is_just_missed_is_rarely_called_met() -> None:
    """At the border itself an interval at 95 % lies above it in about 2.5 % of samples."""
    drawn = np.random.default_rng(5).binomial(200, 0.8, size=4000)
    met = np.mean([judge_bar("at_least", 0.8, wilson(k, 200).low, 1.0) == "met" for k in drawn])
    missed = np.mean([judge_bar("at_least", 0.8, 0.0, wilson(k, 200).high) == "not met" for k in drawn])
    assert met < 0.035
    assert missed < 0.035
    assert met > 0.005


@pytest.mark.parametrize("gained", [0.0, 0.03])
def test_a_loss_as_large_as_the_margin_is_rarely_called_no_worse(gained: float) -> None:
    """Where few rows differ, and nearly all one way."""
    counts = np.random.default_rng(6).multinomial(200, [0.65, gained, gained + 0.05, 0.3 - 2 * gained], size=1500)
    found = [tango(PairedTable(*(int(n) for n in row))) for row in counts]
    met = np.mean([judge_bar("no_worse_than", 0.05, e.low, e.high) == "met" for e in found])
    assert 0.002 < met < 0.035


def test_tangos_ends_are_where_the_restricted_likelihood_puts_them() -> None:
    """The score statistic at each end, with its nuisance share found by search and not by formula, is the normal quantile."""
    for table in (PairedTable(30, 5, 12, 3), PairedTable(80, 0, 5, 15), PairedTable(10, 9, 1, 0), PairedTable(50, 2, 2, 46)):
        e = tango(table)
        for end in (e.low, e.high):
            n, b, c, other = table.n, table.only_first, table.only_second, table.both + table.neither

            def loss(only_second: float, end: float = end, b: int = b, c: int = c, other: int = other) -> float:
                shares = np.array([only_second + end, only_second, 1 - 2 * only_second - end])
                return float(-sum(k * np.log(max(s, 1e-300)) for k, s in zip((b, c, other), shares, strict=True)))

            least = minimize_scalar(
                loss, bounds=(max(0.0, -end) + 1e-12, (1 - end) / 2 - 1e-12), method="bounded", options={"xatol": 1e-12}
            )
            variance = n * (2 * least.x + end * (1 - end))
            assert abs(b - c - n * end) / np.sqrt(variance) == pytest.approx(1.959964, abs=1e-3)
        assert -1 <= e.low <= e.value <= e.high <= 1


def test_tangos_interval_covers_and_turns_round() -> None:
    counts = np.random.default_rng(8).multinomial(120, [0.6, 0.12, 0.05, 0.23], size=1500)
    found = [tango(PairedTable(*(int(n) for n in row))) for row in counts]
    assert 0.93 <= np.mean([e.low <= 0.07 <= e.high for e in found]) <= 0.97
    for row in counts[:20]:
        a, b, c, d = (int(n) for n in row)
        there, back = tango(PairedTable(a, b, c, d)), tango(PairedTable(a, c, b, d))
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    same = tango(PairedTable(40, 0, 0, 10))
    assert same.low < 0 < same.high
    assert tango(PairedTable(0, 20, 0, 0)).high == 1.0
    assert tango(PairedTable(0, 0, 20, 0)).low == -1.0
