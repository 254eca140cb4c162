"""A report's charts as SVG text, drawn offline by Vega-Lite (altair, vl-convert).

One decision: a chart uses only the colours of `INK`, each a plain hex attribute; the page's style sheet maps
them to the dark palette, so one SVG serves light, dark and print. Shape or position repeats what colour says.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from luthier.report import numbers
from luthier.report.sections import Bin, Candidate, Confusion, CurvePoint, LedgerStep, Unit

INK = {
    "text": "#2b2f36",
    "muted": "#6b7280",
    "grid": "#e3e5e8",
    "blue": "#1f6f9f",
    "orange": "#c2570c",
    "green": "#2f7d4f",
    "red": "#b3261e",
    "grey": "#9aa1ab",
}
FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"  # the metrics that the layout is computed with
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
WIDTH, NARROW = 640, 330  # of the plot in pixels, on a desk and on a phone; each chart is drawn for both
SPLIT_COLOURS = {"train": INK["grey"], "validation": INK["blue"], "test": INK["orange"]}
FATES = {"kept": "grey", "changed": "blue", "set aside": "orange", "dropped": "red"}


def effect_chart(effect: float, interval: tuple[float, float], points: bool, width: int = WIDTH) -> str:
    """The effect and its interval against zero. `points`: the numbers are shares, shown in points."""
    import altair as alt

    scale = 100 if points else 1
    low, mid, high = (scale * x for x in (interval[0], effect, interval[1]))
    reach = 1.15 * max(abs(low), abs(high)) or 1.0
    domain = [min(-0.25 * reach, 1.15 * low), max(0.25 * reach, 1.15 * high)]
    rows = alt.Data(values=[{"low": low, "mid": mid, "high": high, "zero": 0}])
    x = alt.X(
        "low:Q",
        scale=alt.Scale(domain=domain, nice=False),
        axis=alt.Axis(tickCount=width // 80),
        title="gain over the baseline" + (", points" if points else ""),
    )
    base = alt.Chart(rows)
    span = base.mark_rule(color=INK["blue"], strokeWidth=4, opacity=0.55).encode(x=x, x2="high:Q")
    dot = base.mark_point(color=INK["blue"], filled=True, size=130, opacity=1).encode(x="mid:Q")
    zero = base.mark_rule(color=INK["text"], strokeDash=[4, 3], strokeWidth=1.5).encode(x="zero:Q")
    said = f"The gain is {mid:.3g}, its interval {low:.3g} to {high:.3g}; the dashed line is no difference."
    return svg_of(alt.layer(zero, span, dot).properties(width=width, height=34), f"effect-{width}", "Effect against zero", said)


def curve_chart(curves: Sequence[CurvePoint], name: str, best_step: int | None, width: int = WIDTH) -> str:
    """One metric over the steps, a line per split, with the best step marked. Empty text when there is none."""
    import altair as alt

    rows = [{"step": p.step, "split": p.split, "value": p.value} for p in curves if p.name == name and p.value is not None]
    if not rows:
        return ""
    last = max(p.step for p in curves)
    splits = [s for s in SPLIT_COLOURS if any(r["split"] == s for r in rows)] or sorted({str(r["split"]) for r in rows})
    dense = {s for s in splits if sum(r["split"] == s for r in rows) > 40}
    colour = alt.Color("split:N", scale=_scale(splits), legend=alt.Legend(title=None, orient="top"))
    chart = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "step:Q",
            title="optimiser step",
            scale=alt.Scale(domain=[0, last]),
            axis=alt.Axis(tickMinStep=1, tickCount=width // 80, grid=False),
        ),
        y=alt.Y("value:Q", title=short(name, 60), scale=alt.Scale(zero=False)),
        color=colour,
        strokeDash=alt.StrokeDash(
            "split:N", scale=alt.Scale(domain=splits, range=[[1, 0] if s == "train" else [6, 2] for s in splits]), legend=None
        ),
    )
    layers: list[Any] = [chart.mark_line(strokeWidth=2)]
    layers.append(
        chart.transform_filter(alt.FieldOneOfPredicate("split", [s for s in splits if s not in dense])).mark_point(filled=True, size=36)
    )
    if best_step is not None:
        layers += _marked(best_step, f"best step {best_step}", "text", left=best_step < last / 2)
    said = "; ".join(_ends(rows, s) for s in splits) + (f"; the best step was {best_step}" if best_step is not None else "")
    return svg_of(alt.layer(*layers).properties(width=width, height=210), f"curve-{name}-{width}", f"{short(name, 60)} by step", said)


def _ends(rows: list[dict[str, Any]], split: str) -> str:
    values = [r["value"] for r in sorted(rows, key=lambda r: r["step"]) if r["split"] == split]
    return f"{split} from {values[0]:.3f} to {values[-1]:.3f}"


def candidate_chart(candidates: Sequence[Candidate], metric: str, unit: Unit, width: int = WIDTH) -> str:
    """Every measured candidate as a dot with its interval, validation above test. Empty text when none has the metric."""
    import altair as alt

    scale, rows = (100 if unit == "share" else 1), []
    for i, c in enumerate(candidates):
        if metric in c.metrics:
            e = c.metrics[metric]
            kind = "tuned" if c.role == "tuned" else "baseline"
            name = short(c.name, width // 12) + (", chosen" if c.chosen and c.split == "validation" else "")
            row = {"row": i, "split": c.split, "kind": kind, "text": f"{name}: {numbers.estimate(e, unit)}"}
            rows.append({**row, "value": scale * e.value, "low": scale * e.low, "high": scale * e.high})
    if not rows:
        return ""
    colour = alt.Color("kind:N", scale=alt.Scale(domain=["baseline", "tuned"], range=[INK["muted"], INK["blue"]]), legend=None)
    base = alt.Chart(alt.Data(values=rows)).encode(y=alt.Y("row:N", title=None, axis=None), color=colour)
    x = alt.X(
        "low:Q", title=short(metric, 60) + (", %" if unit == "share" else ""), scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6)
    )
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=["baseline", "tuned"], range=["circle", "diamond"]), legend=None)
    span = base.mark_rule(strokeWidth=3, opacity=0.55, yOffset=9).encode(x=x, x2="high:Q")
    dot = base.mark_point(filled=True, size=90, opacity=1, yOffset=9).encode(x="value:Q", shape=shape)
    text = base.mark_text(align="left", dy=-7).encode(x=alt.value(0), text="text:N", color=alt.value(INK["text"]))
    splits = [s for s in ("validation", "test") if any(r["split"] == s for r in rows)]
    panels = [
        alt.layer(span, dot, text).transform_filter(alt.datum.split == s).properties(width=width, height=alt.Step(40), title=f"{s} rows")
        for s in splits
    ]
    said = "; ".join(f"{r['text']} on {r['split']} rows" for r in rows)
    return svg_of(alt.vconcat(*panels).resolve_scale(x="shared"), f"candidates-{width}", f"{short(metric, 60)} of every candidate", said)


def length_chart(bins: Sequence[Bin], max_length: int | None, width: int = WIDTH, unit: str = "tokens in a row") -> str:
    """Rows by length in `unit`, with the longest length that is kept. Empty text without bins."""
    import altair as alt

    if not bins:
        return ""
    rows = alt.Data(values=[{"low": b.low, "high": b.high, "rows": b.num_rows} for b in bins])
    bars = alt.Chart(rows).mark_bar(color=INK["blue"], binSpacing=1, opacity=0.85)
    reach = max([b.high for b in bins] + ([max_length] if max_length else []))
    scale = alt.Scale(domain=[min(b.low for b in bins), reach], nice=False)
    x = alt.X("low:Q", bin="binned", title=unit, scale=scale, axis=alt.Axis(grid=False, tickCount=width // 64))
    layers: list[Any] = [bars.encode(x=x, x2="high:Q", y=alt.Y("rows:Q", title="rows", axis=alt.Axis(tickMinStep=1)))]
    if max_length is not None:
        layers += _marked(max_length, f"longest kept whole: {max_length}", "red", left=max_length < reach / 2)
    said = f"{sum(b.num_rows for b in bins)} rows between {bins[0].low} and {bins[-1].high} {unit}"
    return svg_of(alt.layer(*layers).properties(width=width, height=170), f"lengths-{unit}-{width}", f"Rows by {unit}", said)


def bar_chart(counts: Sequence[tuple[str, int]], name: str, unit: str, width: int = WIDTH) -> str:
    """One bar for each name, in the given order, with its number. Empty text when there is none."""
    import altair as alt

    if not counts:
        return ""
    rows = [{"row": i, "n": n, "text": f"{short(label, width // 12)}: {n:,}"} for i, (label, n) in enumerate(counts)]
    y = alt.Y("row:O", title=None, axis=None)
    x = alt.X("n:Q", title=unit, axis=alt.Axis(tickMinStep=1, tickCount=6))
    bars = alt.Chart(alt.Data(values=rows)).mark_bar(height=9, yOffset=9, color=INK["blue"]).encode(y=y, x=x)
    text = alt.Chart(alt.Data(values=rows)).mark_text(align="left", dy=-6, color=INK["text"]).encode(y=y, x=alt.value(0), text="text:N")
    said = "; ".join(str(row["text"]) for row in rows)
    return svg_of(alt.layer(bars, text).properties(width=width, height=alt.Step(34)), f"{name}-{width}", f"{unit} by {name}", said)


def _marked(at: float, text: str, ink: str, left: bool) -> list[Any]:
    """A dashed line at `at` with its name above the plot, on its left or right side."""
    import altair as alt

    mark = alt.Chart(alt.Data(values=[{"x": at, "text": text}])).encode(x="x:Q")
    name = mark.mark_text(align="left" if left else "right", dx=-3 if left else 3, dy=-5, baseline="bottom", color=INK[ink])
    return [mark.mark_rule(color=INK[ink], strokeDash=[4, 3], strokeWidth=1.5), name.encode(text="text:N", y=alt.value(0))]


def ledger_chart(steps: Sequence[LedgerStep], width: int = WIDTH) -> str:
    """Rows by step, stacked by what became of them. Empty text without steps."""
    import altair as alt

    if not steps:
        return ""
    rows, notes = [], []
    for i, s in enumerate(steps):
        counts = dict(zip(FATES, (s.kept, s.changed, s.set_aside, s.dropped), strict=True))
        rows += [{"step": i, "fate": fate, "rows": n, "order": j} for j, (fate, n) in enumerate(counts.items())]
        moved = ", ".join(f"{n:,} {fate}" for fate, n in counts.items() if n and fate != "kept")
        notes.append({"step": i, "text": f"{short(s.step, 24)}: {moved or f'all {s.reached:,} kept'}"})
    y = alt.Y("step:N", title=None, axis=None)
    domain, inks = list(FATES), [INK[c] for c in FATES.values()]
    colour = alt.Color("fate:N", scale=alt.Scale(domain=domain, range=inks), legend=alt.Legend(title=None, orient="top"))
    x = alt.X("rows:Q", title="rows", axis=alt.Axis(tickMinStep=1, tickCount=6))
    bars = alt.Chart(alt.Data(values=rows)).mark_bar(height=9, yOffset=9).encode(y=y, x=x, color=colour, order="order:Q")
    text = alt.Chart(alt.Data(values=notes)).mark_text(align="left", dy=-6, color=INK["text"]).encode(y=y, x=alt.value(0), text="text:N")
    said = "; ".join(str(n["text"]) for n in notes)
    return svg_of(alt.layer(bars, text).properties(width=width, height=alt.Step(38)), f"ledger-{width}", "What became of the rows", said)


def confusion_chart(confusion: Confusion) -> str:
    """Wanted class by given answer: right cells blue, wrong ones orange, stronger with the share of the row."""
    import altair as alt

    labels = [short(x, 40) for x in _distinct(confusion.labels)]
    small, rows = len(labels) > 30, []
    for i, counts in enumerate(confusion.counts):
        for j, n in enumerate(counts):
            if n:
                rows.append(
                    {"want": labels[i], "got": labels[j], "n": n, "share": n / sum(counts), "right": "right" if i == j else "wrong"}
                )
    cell = (9 if small else 30) if len(labels) > 6 else 44
    font = 7 if small else 11
    axis = alt.Axis(labelFontSize=font, labelLimit=190, labelOverlap=False, ticks=False, domain=False, grid=True, zindex=0, titlePadding=14)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("got:N", title="answered", scale=alt.Scale(domain=labels), axis=axis),
        y=alt.Y("want:N", title="wanted", scale=alt.Scale(domain=labels), axis=axis),
    )
    heat = base.mark_rect().encode(
        color=alt.Color(
            "right:N",
            scale=alt.Scale(domain=["right", "wrong"], range=[INK["blue"], INK["orange"]]),
            legend=alt.Legend(title=None, orient="top"),
        ),
        opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.18, 0.6]), legend=None),
    )
    layers = [heat] if small else [heat, base.mark_text(fontSize=11, color=INK["text"]).encode(text="n:Q")]
    right = sum(confusion.counts[i][i] for i in range(len(labels)))
    said = f"{right} of {sum(map(sum, confusion.counts))} rows are on the diagonal (right)"
    chart = alt.layer(*layers).properties(width=alt.Step(cell), height=alt.Step(cell))
    return svg_of(chart, "confusion", "Wanted class by answer", said)


def _distinct(labels: Sequence[str]) -> list[str]:
    """Labels that stay apart after shortening (a running number marks those that would not)."""
    seen: dict[str, int] = {}
    out = []
    for label in labels:
        name = short(label, 40)
        seen[name] = seen.get(name, 0) + 1
        out.append(label if seen[name] == 1 else f"{seen[name]} {label}")
    return out


def short(text: str, limit: int) -> str:
    """One line of at most `limit` characters, without those that XML does not allow."""
    flat = " ".join(_NOT_XML.sub("\ufffd", text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _scale(splits: list[str]) -> Any:
    import altair as alt

    return alt.Scale(domain=splits, range=[SPLIT_COLOURS.get(s, INK["green"]) for s in splits])


def svg_of(chart: Any, name: str, title: str, description: str) -> str:
    """Render, name and describe a chart; ids carry `name`, so that several charts fit in one page."""
    import vl_convert

    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    spec = _styled(chart).to_dict(format="vega-lite")
    svg = vl_convert.vegalite_to_svg(spec, show_warnings=False)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{slug}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{slug}-\1)", svg)
    svg = re.sub(r'\s(?:aria-[a-z]+|role)="[^"]*"', "", svg)
    head, _, rest = svg.partition(">")
    named = f'<title id="{slug}-title">{html.escape(title)}</title><desc id="{slug}-desc">{html.escape(description)}</desc>'
    return f'{head} role="img" aria-labelledby="{slug}-title {slug}-desc">{named}{rest}'


def _styled(chart: Any) -> Any:
    text, muted = INK["text"], INK["muted"]
    chart = chart.configure(background="transparent", font=FONT, padding=4).configure_view(stroke=None)
    chart = chart.configure_axis(
        labelColor=text, titleColor=muted, gridColor=INK["grid"], domainColor=INK["grey"], tickColor=INK["grey"],
        labelFontSize=11, titleFontSize=11, titleFontWeight="normal",
    )  # fmt: skip
    chart = chart.configure_legend(labelColor=text, labelFontSize=12, symbolStrokeWidth=2, symbolOpacity=1)
    return chart.configure_title(color=text, fontSize=12, fontWeight=600, anchor="start", frame="group")
