"""The reliability plot: the share of right answers by how sure the model was, for both models, against the diagonal.

One decision: every point has the interval of its share, and stands on the diagonal when sureness and being right agree; below it the
model is surer than it should be.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.report.plots import INK, WIDTH, svg_of
from luthier.report.sections import ReliabilityPoint

COLOURS = {"baseline": INK["grey"], "tuned": INK["blue"]}


def reliability_chart(points: Sequence[ReliabilityPoint], width: int = WIDTH) -> str:
    """The plot, or empty text without points."""
    import altair as alt

    if not points:
        return ""
    rows = [
        {"model": p.model, "sure": p.confidence, "right": p.right.value, "low": p.right.low, "high": p.right.high, "rows": p.num_rows}
        for p in points
    ]
    ends = alt.Scale(domain=[0, 1])
    x = alt.X("sure:Q", title="probability of the chosen label", scale=ends, axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("right:Q", title="share right", scale=ends, axis=alt.Axis(format="%", tickCount=5))
    models = [m for m in COLOURS if any(p.model == m for p in points)]
    colour = alt.Color(
        "model:N", scale=alt.Scale(domain=models, range=[COLOURS[m] for m in models]), legend=alt.Legend(title=None, orient="top")
    )
    base = alt.Chart(alt.Data(values=rows))
    ideal = alt.Chart(alt.Data(values=[{"sure": 0, "right": 0}, {"sure": 1, "right": 1}])).mark_line(color=INK["grid"], strokeWidth=1.5)
    ranges = base.mark_rule(opacity=0.6).encode(x=x, y=alt.Y("low:Q", scale=ends), y2="high:Q", color=colour)
    marks = base.mark_point(filled=True, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=alt.Shape("model:N", scale=alt.Scale(domain=models, range=["square", "circle"][-len(models) :]), legend=None),
    )
    said = "; ".join(f"{p.model}, sure {p.confidence:.0%}: right {p.right.value:.0%} of {p.num_rows} rows" for p in points)
    chart = alt.layer(ideal.encode(x=x, y=y), ranges, marks).properties(width=width, height=min(width, 320))
    return svg_of(chart, f"reliability-{width}", "How sure the models were and how often they were right", said)
