"""Bars: is a figure proven to be good enough? Judged on the ends of its interval, never on its value.

One decision: three answers. *Met* needs the whole interval on the right side of the bar, *not met* the whole interval on the
wrong one, and everything else is *not proven*. All bars must be met, so no correction for their number is needed: the chance
that all are met while one of them does not hold is at most that of a single one (an intersection-union test, Berger 1982).
"""

from __future__ import annotations

from typing import Literal

BarKind = Literal["at_least", "at_most", "no_worse_than"]
Outcome = Literal["met", "not met", "not proven"]


def judge_bar(kind: BarKind, bar: float, low: float, high: float) -> Outcome:
    """low, high: the ends of the figure's interval; for `no_worse_than` those of tuned minus baseline, turned so that above 0 is a gain.

    `bar` is then the margin, 0 or more: the loss that is still no worse (a test of non-inferiority at alpha / 2).
    """
    if kind == "at_most":
        return _judged(-bar, -high, -low)
    return _judged(bar if kind == "at_least" else -bar, low, high)


def _judged(bar: float, low: float, high: float) -> Outcome:
    if low >= bar:
        return "met"
    return "not met" if high < bar else "not proven"
