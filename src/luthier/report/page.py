"""The HTML report: one self-contained file, offline, in light and dark, on screen and on paper.

One decision: no request leaves the page and no text of a row is trusted; a strict content security policy
says so to the browser, every value is escaped by the template, and charts are SVG drawn beforehand.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from luthier.report import numbers, plots
from luthier.report.csvfile import errors_csv
from luthier.report.model import RunReport
from luthier.report.sections import SplitCount

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
DARK_INK = {
    "text": "#d9dde3",
    "muted": "#98a1ad",
    "grid": "#2e343c",
    "blue": "#62b0dd",
    "orange": "#e8944f",
    "green": "#6cbf8d",
    "red": "#f0766d",
    "grey": "#737c88",
}
SIGNS = {"better": "▲", "not proven": "◆", "worse": "▼"}


def render_page(report: RunReport) -> str:
    """The whole page as text."""
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8") + dark_charts()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            r=report,
            share=report.objective.unit,
            sign=SIGNS[report.verdict.decision],
            sentence=numbers.verdict_sentence(report.verdict, report.objective.unit),
            charts={name: Markup(svg) for name, svg in charts(report).items()},
            curves=[Markup(svg) for svg in curve_charts(report)],
            style=Markup(style),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            errors_href="data:text/csv;charset=utf-8," + quote(errors_csv(report)),
        )
    )


def charts(report: RunReport) -> dict[str, str]:
    """The page's charts by name; empty text where there is nothing to draw."""
    v, goal = report.verdict, report.objective
    lengths, confusion = report.lengths, report.evaluation.confusion
    return {
        "effect": plots.effect_chart(v.effect, v.interval, points=goal.unit == "share"),
        "candidates": plots.candidate_chart(report.candidates, goal.metric, share=goal.unit == "share"),
        "lengths": plots.length_chart(lengths.histogram, lengths.max_length) if lengths else "",
        "ledger": plots.ledger_chart(report.data.ledger),
        "confusion": plots.confusion_chart(confusion) if confusion and confusion.labels else "",
    }


def curve_charts(report: RunReport) -> list[str]:
    """A chart for each learning curve: the loss first, then the metrics by name."""
    if report.training is None:
        return []
    points, best = report.training.curves, report.training.best_step
    measured = {p.name for p in points if p.split in plots.SPLIT_COLOURS}
    drawn = [plots.curve_chart(points, name, best) for name in sorted(measured, key=lambda n: (n != "loss", n))]
    return [svg for svg in drawn if svg]


def dark_charts() -> str:
    """Style rules that give the charts' inks their dark colours; paper stays light."""
    rules = "".join(
        f'svg [{a}="{light}"]{{{a}:{DARK_INK[name]}}}' for name, light in plots.INK.items() for a in ("fill", "stroke")
    )
    return f"\n@media screen and (prefers-color-scheme:dark){{{rules}}}\n"


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for f in (
        numbers.value, numbers.difference, numbers.interval, numbers.difference_interval, numbers.estimate,
        numbers.estimated_difference, numbers.p_value, numbers.percent, numbers.count, numbers.large, numbers.seconds,
        numbers.megabytes, numbers.watt_hours, numbers.setting, numbers.detectable,
    ):  # fmt: skip
        env.filters[f.__name__] = f
    env.filters.update(first_words=first_words, breakable=breakable, class_sizes=class_sizes)
    return env


def breakable(text: str) -> Markup:
    """The text, escaped, with a place to break the line after each underscore of a long name."""
    from markupsafe import Markup, escape

    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def class_sizes(split: SplitCount) -> str:
    """`12 classes, 4 to 61 rows each`"""
    if not split.classes:
        return "no classes"
    low, high = min(split.classes.values()), max(split.classes.values())
    return f"{len(split.classes)} classes, " + (f"{low:,} rows each" if low == high else f"{low:,} to {high:,} rows each")


def first_words(text: str, limit: int = 150) -> str:
    """The start of a long text, cut between words."""
    if len(text) <= limit:
        return text
    return text[:limit].rsplit(None, 1)[0] + " …"
