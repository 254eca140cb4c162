"""The charts of a comparison of runs as SVG: intervals with groups, curves laid over one another, quality against cost.

One decision: a run keeps one colour and one dash through every chart of the page, in the order of the table; after four colours
the dash changes, so that any number of runs stays apart on paper and for people who see few colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from luthier.report import numbers
from luthier.report.compare_model import ComparedRun, RunsComparison
from luthier.report.plots import INK, WIDTH, short, svg_of
from luthier.report.sections import Estimate

COLOURS = ("blue", "orange", "green", "red")
DASHES = ([1, 0], [7, 3], [2, 2], [8, 2, 2, 2], [12, 4])
LINE = 14
"""Of a line of text, in pixels."""


def forest_chart(found: RunsComparison, width: int = WIDTH) -> str:
    """The deciding metric of every compared run with its interval and group letters, best first."""
    import altair as alt

    scale, runs = (100 if found.unit == "share" else 1), found.compared
    rows = []
    for i, run in enumerate(runs):
        e = run.primary
        assert e is not None
        group = f", group {run.group_letters}" if run.group_letters else ""
        text = f"{short(run.label, width // 12)}: {numbers.estimate(e, found.unit)}{group}"
        rows.append({**_scaled(e, scale), "row": i, "text": text})
    base = alt.Chart(alt.Data(values=rows)).encode(y=alt.Y("row:N", title=None, axis=None))
    title = found.metric.replace("_", " ") + (", %" if found.unit == "share" else "")
    x = alt.X("low:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    span = base.mark_rule(strokeWidth=3, opacity=0.55, yOffset=9, color=INK["blue"]).encode(x=x, x2="high:Q")
    dot = base.mark_point(filled=True, size=90, opacity=1, yOffset=9, color=INK["blue"]).encode(x="value:Q")
    text = base.mark_text(align="left", dy=-7, color=INK["text"]).encode(x=alt.value(0), text="text:N")
    chart = alt.layer(span, dot, text).properties(width=width, height=alt.Step(40))
    return svg_of(chart, f"runs-{width}", f"{title} of every run", "; ".join(r["text"] for r in rows))


def overlaid_chart(runs: Sequence[ComparedRun], split: str, name: str, width: int = WIDTH) -> str:
    """One metric of one split over the steps, a line for each run. Empty text when no run has two points of it."""
    import altair as alt

    rows: list[dict[str, Any]] = []
    for run in runs:
        points = [p for p in run.curves if (p.split, p.name) == (split, name) and p.value is not None]
        rows += [{"step": p.step, "value": p.value, "run": run.label} for p in points]
    drawn = [r.label for r in runs if sum(row["run"] == r.label for row in rows) >= 2]
    rows = [row for row in rows if row["run"] in drawn]
    if not rows:
        return ""
    inks, dashes = looks_of([r.label for r in runs])
    scale = alt.Scale(domain=drawn, range=[inks[label] for label in drawn])
    dashed = alt.Scale(domain=drawn, range=[dashes[label] for label in drawn])
    legend = alt.Legend(title=None, orient="bottom", columns=1 if width < WIDTH else 2, labelLimit=width - 40, symbolType="stroke")
    steps = alt.Axis(tickMinStep=1, tickCount=width // 80, grid=False)
    title = f"{short(name, 50).replace('_', ' ')}, {'training' if split == 'train' else split} rows"
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("step:Q", title="optimiser step", axis=steps, scale=alt.Scale(nice=False)),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
            color=alt.Color("run:N", scale=scale, legend=legend),
            strokeDash=alt.StrokeDash("run:N", scale=dashed, legend=legend),
        )
    )
    said = "; ".join(_ends(rows, label) for label in drawn)
    return svg_of(chart.properties(width=width, height=230), f"overlaid-{split}-{name}-{width}", f"{title} by step", said)


def cost_chart(found: RunsComparison, cost: Callable[[ComparedRun], float | None], title: str, width: int = WIDTH) -> str:
    """Quality with its interval against a cost on a logarithmic axis, every run named. Empty text below two runs with a cost above 0."""
    import altair as alt

    priced = [(r, r.primary, c) for r in found.compared if r.primary is not None and (c := cost(r)) is not None and c > 0]
    if len(priced) < 2:
        return ""
    scale, costs = (100 if found.unit == "share" else 1), [c for _, _, c in priced]
    middle = math.sqrt(min(costs) * max(costs))
    places = name_places([scale * e.value for _, e, _ in priced], scale * _span(found), 280)
    rows = [
        {**_scaled(e, scale), "name": short(r.label, 40), "cost": c, "at": at, "far": c > middle}
        for (r, e, c), at in zip(priced, places, strict=True)
    ]
    ends = [min(costs) / 1.6, max(costs) * 1.6]
    x = alt.X("cost:Q", title=title, scale=alt.Scale(type="log", domain=ends, nice=False), axis=alt.Axis(tickCount=5))
    measure = found.metric.replace("_", " ") + (", %" if found.unit == "share" else "")
    y = alt.Y("low:Q", title=measure, scale=alt.Scale(zero=False))
    base = alt.Chart(alt.Data(values=rows))
    layers: list[Any] = [
        base.mark_rule(strokeWidth=2.5, opacity=0.45, color=INK["blue"]).encode(x=x, y=y, y2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1, color=INK["blue"]).encode(x=x, y=alt.Y("value:Q", title=measure)),
    ]
    for far in (False, True):
        side = base.transform_filter(f"datum.far == {str(far).lower()}")
        text = side.mark_text(align="right" if far else "left", dx=-9 if far else 9, fontSize=11, color=INK["text"])
        layers.append(text.encode(x=x, y=alt.Y("at:Q", title=measure), text="name:N"))
    said = "; ".join(f"{r['name']}: {r['cost']:.3g}, {r['value']:.3g}" for r in rows)
    chart = alt.layer(*layers).properties(width=width, height=280)
    return svg_of(chart, f"cost-{title}-{width}", f"{measure} against {title}", said)


def looks_of(labels: Sequence[str]) -> tuple[dict[str, str], dict[str, list[int]]]:
    """The ink and the dash of each run: no two of the first twenty alike."""
    inks = {label: INK[COLOURS[i % len(COLOURS)]] for i, label in enumerate(labels)}
    return inks, {label: DASHES[i // len(COLOURS) % len(DASHES)] for i, label in enumerate(labels)}


def name_places(values: Sequence[float], span: float, height: int) -> list[float]:
    """Where each name stands on the axis of quality: beside its point, or lower where it would meet the name above."""
    places, last, gap = [0.0] * len(values), math.inf, LINE / height * (span or 1.0)
    for i in sorted(range(len(values)), key=lambda i: -values[i]):
        places[i] = last = min(values[i], last - gap)
    return places


def _scaled(e: Estimate, scale: float) -> dict[str, Any]:
    return {"value": scale * e.value, "low": scale * e.low, "high": scale * e.high}


def _span(found: RunsComparison) -> float:
    ends = [(e.low, e.high) for r in found.compared if (e := r.primary) is not None]
    return max(high for _, high in ends) - min(low for low, _ in ends)


def _ends(rows: list[dict[str, Any]], label: str) -> str:
    values = [r["value"] for r in sorted(rows, key=lambda r: r["step"]) if r["run"] == label]
    return f"{label} from {values[0]:.3f} to {values[-1]:.3f}"
