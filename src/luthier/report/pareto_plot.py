"""Quality against latency of every candidate of a bench as SVG: intervals, families by shape, the Pareto front as a line.

One decision: latency is on a logarithmic axis, because candidates lie decades apart, and every point carries its name, so the
plot can be read without its table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.report.plots import INK, svg_of

WIDTH, HEIGHT, LINE = 720, 420, 15
"""Of the plot and of a line of text, in pixels."""
FAMILIES = {"tuned": ("blue", "diamond"), "prompted": ("orange", "circle"), "classical": ("green", "square")}


_SIDES: tuple[tuple[bool, Literal["left", "right"], int], ...] = ((False, "left", 9), (True, "right", -9))
"""Whether a point stands on the right half, and on which side of it and how far away its name begins."""


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate: latency in milliseconds a row, quality with its interval, whether it is on the front."""

    name: str
    family: str
    latency_ms: float
    value: float
    low: float
    high: float
    front: bool


def pareto_svg(points: Sequence[Point], metric: str) -> str:
    """The plot; text for screen readers says the front in words."""
    import altair as alt

    middle, places = _middle(points), label_places(points)
    rows = [
        {
            "name": p.name,
            "family": p.family,
            "ms": p.latency_ms,
            "value": p.value,
            "low": p.low,
            "high": p.high,
            "label": place,
            "left": p.latency_ms > middle,
            "front": p.front,
        }
        for p, place in zip(points, places, strict=True)
    ]
    names = [f for f in FAMILIES if any(r["family"] == f for r in rows)]
    inks, shapes = [INK[FAMILIES[f][0]] for f in names], [FAMILIES[f][1] for f in names]
    ends = [min(r["ms"] for r in rows) / 2, max(r["ms"] for r in rows) * 2]
    x = alt.X("ms:Q", title="milliseconds a row (one by one)", scale=alt.Scale(type="log", domain=ends), axis=alt.Axis(tickCount=6))
    y = alt.Y("value:Q", title=metric.replace("_", " "), scale=alt.Scale(zero=False))
    legend = alt.Legend(title=None, orient="top")
    colour = alt.Color("family:N", scale=alt.Scale(domain=names, range=inks), legend=legend)
    shape = alt.Shape("family:N", scale=alt.Scale(domain=names, range=shapes), legend=legend)
    base, span = alt.Chart(alt.Data(values=rows)), alt.Y("low:Q", title=metric.replace("_", " "))
    line = base.transform_filter("datum.front").mark_line(color=INK["grey"], strokeDash=[5, 3], strokeWidth=1.5, interpolate="step-after")
    layers: list[Any] = [
        line.encode(x=x, y=y, order="ms:Q"),
        base.mark_rule(strokeWidth=2.5, opacity=0.45).encode(x=x, y=span, y2="high:Q", color=colour),
        base.mark_point(filled=True, size=110, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
    ]
    for left, align, dx in _SIDES:
        text = base.transform_filter(f"datum.left == {str(left).lower()}").mark_text(align=align, dx=dx, fontSize=11, color=INK["text"])
        layers.append(text.encode(x=x, y=alt.Y("label:Q", title=metric.replace("_", " ")), text="name:N"))
    front = sorted((p for p in points if p.front), key=lambda p: p.latency_ms)
    said = "On the front, from fast to slow: " + "; ".join(f"{p.name}, {p.latency_ms:.3g} ms, {p.value:.3f}" for p in front)
    return svg_of(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT), "pareto", f"{metric} against latency", said)


def label_places(points: Sequence[Point]) -> list[float]:
    """Where each name stands on the axis of quality: beside its point, or lower where it would meet the name above."""
    span = max(p.high for p in points) - min(p.low for p in points) or 1.0
    places, last, gap = [0.0] * len(points), math.inf, LINE / HEIGHT * span
    for i in sorted(range(len(points)), key=lambda i: -points[i].value):
        places[i] = last = min(points[i].value, last - gap)
    return places


def _middle(points: Sequence[Point]) -> float:
    """The geometric middle of the axis: names of points to its right stand on their left."""
    times = [p.latency_ms for p in points]
    return (min(times) * max(times)) ** 0.5
