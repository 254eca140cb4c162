"""The plot of a learning-rate range test as a PNG: loss by rate, the suggested rate marked.

One decision: it uses the colours of the report's charts on white, because a PNG has no dark form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.report.plots import FONT, INK

WIDTH, HEIGHT = 720, 360
_ROOM = 1.25
"""The axis ends at this many times the height of the curve at its start: what lies above only says that it diverged."""


@dataclass(frozen=True, slots=True)
class RateCurve:
    """One point a step: rates, losses and smoothed losses. usual: the recommended rates; the rest may be None."""

    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
    suggested: float | None
    current: float
    usual: tuple[float, float] | None


def rate_png(curve: RateCurve, title: str) -> bytes:
    """The plot as PNG bytes, at twice the size in pixels."""
    import altair as alt
    import vl_convert

    low, first = min(*curve.losses, *curve.smoothed), curve.smoothed[0]
    top = low + _ROOM * max(first - low, 1e-9)
    y = alt.Y("loss:Q", title="training loss", scale=alt.Scale(domain=[low - 0.05 * (top - low), top], nice=False, clamp=True))
    ends = [min(curve.rates), max(curve.rates)]
    x = alt.X("rate:Q", title="learning rate", scale=alt.Scale(type="log", domain=ends, nice=False), axis=alt.Axis(format="~e", grid=False))
    layers: list[Any] = _band(alt, curve.usual, ends) if curve.usual else []
    points = [{"rate": r, "loss": v} for r, v in zip(curve.rates, curve.losses, strict=True) if v <= top]
    line = [{"rate": r, "loss": v} for r, v in zip(curve.rates, curve.smoothed, strict=True) if v <= top]
    layers.append(alt.Chart(alt.Data(values=points)).mark_point(color=INK["grey"], filled=True, size=18, opacity=0.8).encode(x=x, y=y))
    layers.append(alt.Chart(alt.Data(values=line)).mark_line(color=INK["blue"], strokeWidth=2.5).encode(x=x, y=y))
    left = curve.suggested is not None and curve.suggested < curve.current
    if ends[0] <= curve.current <= ends[1]:
        layers += _rule(alt, curve.current, f"train.learning_rate {curve.current:.2g}", INK["muted"], not left)
    if curve.suggested is not None:
        layers += _rule(alt, curve.suggested, f"steepest at {curve.suggested:.2g}", INK["orange"], left)
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title, background="white")
    chart = chart.configure(font=FONT).configure_axis(labelColor=INK["text"], titleColor=INK["text"], gridColor=INK["grid"])
    return vl_convert.vegalite_to_png(chart.to_dict(), scale=2)


def _band(alt: Any, usual: tuple[float, float], ends: list[float]) -> list[Any]:
    """The recommended rates as a tinted band."""
    row = {"low": max(usual[0], ends[0]), "high": min(usual[1], ends[1]), "text": "recommended"}
    base = alt.Chart(alt.Data(values=[row]))
    x = alt.X("low:Q", scale=alt.Scale(type="log", domain=ends, nice=False), title="learning rate")
    words = base.mark_text(color=INK["green"], align="left", dx=6, fontSize=12).encode(x=x, y=alt.value(HEIGHT - 10), text="text:N")
    return [base.mark_rect(color=INK["green"], opacity=0.12).encode(x=x, x2="high:Q"), words]


def _rule(alt: Any, at: float, text: str, ink: str, left: bool) -> list[Any]:
    """A dashed line with its words at the top, on its left or on its right."""
    base = alt.Chart(alt.Data(values=[{"at": at, "text": text}]))
    rule = base.mark_rule(color=ink, strokeDash=[5, 3], strokeWidth=1.5).encode(x="at:Q")
    words = base.mark_text(color=ink, align="right" if left else "left", dx=-6 if left else 6, fontSize=12)
    return [rule, words.encode(x="at:Q", y=alt.value(12), text="text:N")]
