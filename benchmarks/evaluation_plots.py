"""The plots of the full evaluations, drawn by the report's own means, so that they look like a report.

One decision: a figure is a dot on its interval, base and tuned told apart by shape and colour; numbers without a bound stay in the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.report.plots import INK, svg_of

Found = dict[str, Any]
MODELS = {"base": (INK["muted"], "circle"), "tuned": (INK["blue"], "diamond")}
WIDTH = 300


def overview_svg(found: Sequence[Found]) -> str:
    """The deciding metric of every set, its interval, and what the most frequent label would reach."""
    import altair as alt

    rows = [row for f in found for row in estimates_of(f, [f["metric"]], f"{f['title']}: {f['metric']}")]
    marks = [{"name": f"{f['title']}: {f['metric']}", "value": 100 * f["most_frequent"]} for f in found if f["labels"]]
    order = [f"{f['title']}: {f['metric']}" for f in found]
    layers = dots(rows, order, "%, higher is better")
    tick = alt.Chart(alt.Data(values=marks)).mark_tick(color=INK["orange"], thickness=2.5, size=16)
    layers.append(tick.encode(x="value:Q", y=alt.Y("name:N", sort=order)))
    chart = alt.layer(*layers).properties(width=440, height=alt.Step(30))
    said = "; ".join(f"{r['name']}, {r['model']} {r['value']:.1f} % ({r['low']:.1f} to {r['high']:.1f})" for r in rows)
    return svg_of(chart, "evaluation-overview", "The deciding metric of each set", f"{said}; ticks: the most frequent label")


def set_svg(found: Found) -> str:
    """Every share among the metrics; beside it how sure the model was, or the spread of the rows' own scores."""
    import altair as alt

    names = [name for name, e in found["base_scores"].items() if e["unit"] == "share"]
    rows = [row for name in names for row in estimates_of(found, [name], name)]
    left = alt.layer(*dots(rows, names, "%")).properties(width=WIDTH, height=alt.Step(28), title="metrics")
    right = reliability(found) if found["reliability"] else spread(found)
    chart = alt.hconcat(left, right).resolve_scale(color="independent", shape="independent")
    said = "; ".join(f"{r['name']}, {r['model']} {r['value']:.1f} % ({r['low']:.1f} to {r['high']:.1f})" for r in rows)
    return svg_of(chart, f"evaluation-{found['set']}", f"{found['title']}: metrics with their intervals", said)


def estimates_of(found: Found, metrics: Sequence[str], name: str) -> list[Found]:
    """One row for each model that has those metrics, in per cent."""
    models = {"base": found["base_scores"], **({"tuned": found["tuned"]["scores"]} if "tuned" in found else {})}
    return [
        {"name": name, "model": model, **{k: 100 * scores[metric][k] for k in ("value", "low", "high")}}
        for metric in metrics
        for model, scores in models.items()
    ]


def dots(rows: Sequence[Found], order: Sequence[str], title: str) -> list[Any]:
    """Intervals as lines with a dot at the figure; a line for each name, base above tuned."""
    import altair as alt

    models = [m for m in MODELS if any(r["model"] == m for r in rows)]
    legend = alt.Legend(title=None, orient="top") if len(models) > 1 else None
    colour = alt.Color("model:N", scale=alt.Scale(domain=models, range=[MODELS[m][0] for m in models]), legend=legend)
    shape = alt.Shape("model:N", scale=alt.Scale(domain=models, range=[MODELS[m][1] for m in models]), legend=legend)
    y = alt.Y("name:N", sort=list(order), title=None, axis=alt.Axis(labelLimit=260))
    aside = (
        alt.YOffset("model:N", sort=models, scale=alt.Scale(domain=models, paddingOuter=0.5)) if len(models) > 1 else alt.YOffsetValue(0)
    )
    base = alt.Chart(alt.Data(values=list(rows)))
    ends = alt.Scale(domain=[min(0.0, *(r["low"] for r in rows)), max(100.0, *(r["high"] for r in rows))])
    x = alt.X("low:Q", title=title, scale=ends, axis=alt.Axis(tickCount=5))
    if len(models) > 1:
        span = base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=x, x2="high:Q", y=y, yOffset=aside, color=colour)
        return [span, base.mark_point(filled=True, size=70, opacity=1).encode(x="value:Q", y=y, yOffset=aside, color=colour, shape=shape)]
    span = base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=x, x2="high:Q", y=y, color=colour)
    return [span, base.mark_point(filled=True, size=70, opacity=1).encode(x="value:Q", y=y, color=colour, shape=shape)]


def reliability(found: Found) -> Any:
    """How sure the base was of its label against how often it was right."""
    import altair as alt

    ends = alt.Scale(domain=[0, 1])
    x = alt.X("confidence:Q", title="probability of the chosen label", scale=ends, axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("right:Q", title="share right", scale=ends, axis=alt.Axis(format="%", tickCount=5))
    base = alt.Chart(alt.Data(values=found["reliability"]))
    ideal = alt.Chart(alt.Data(values=[{"confidence": 0, "right": 0}, {"confidence": 1, "right": 1}]))
    span = base.mark_rule(color=INK["blue"], opacity=0.6).encode(x=x, y=alt.Y("right_low:Q", scale=ends), y2="right_high:Q")
    point = base.mark_point(color=INK["blue"], filled=True, opacity=1, size=55).encode(x=x, y=y)
    line = ideal.mark_line(color=INK["grid"], strokeWidth=1.5).encode(x=x, y=y)
    return alt.layer(line, span, point).properties(width=WIDTH, height=200, title="sureness of the base")


def spread(found: Found) -> Any:
    """How many rows have a score in each tenth."""
    import altair as alt

    models = {"base": found["spread"], **({"tuned": found["tuned"]["spread"]} if "tuned" in found else {})}
    rows = [{"from": i / 10, "rows": n, "model": model} for model, counts in models.items() for i, n in enumerate(counts)]
    colour = alt.Color("model:N", scale=alt.Scale(domain=list(models), range=[MODELS[m][0] for m in models]), legend=None)
    x = alt.X("from:O", title=f"{found['metric']} of a row, from", axis=alt.Axis(labelAngle=0, format=".1f"))
    drawn = alt.Chart(alt.Data(values=rows)).mark_bar().encode(x=x, y=alt.Y("rows:Q", title="rows"), color=colour)
    drawn = drawn.encode(xOffset=alt.XOffset("model:N", sort=list(models))) if len(models) > 1 else drawn
    return drawn.properties(width=WIDTH, height=200, title="scores of the rows")
