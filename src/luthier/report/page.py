"""The HTML report: one self-contained file, offline, in light and dark, on screen and on paper.

One decision: no request leaves the page and no text of a row is trusted; a strict content security policy
says so to the browser, every value is escaped by the template, and charts are SVG drawn beforehand.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from luthier.core.errors import MachineError
from luthier.report import numbers, plots
from luthier.report.csvfile import errors_csv
from luthier.report.model import Evaluation, RunReport
from luthier.report.reliability_plot import reliability_chart
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
    """The whole page as text. Raises MachineError when a library of the `report` extra is missing."""
    require("altair", "vl_convert", "jinja2")
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8") + dark_charts()
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            r=report,
            share=report.objective.unit,
            sign=SIGNS[report.verdict.decision],
            sentence=numbers.verdict_sentence(report),
            charts=_both_widths(report),
            confusion=Markup(confusion_chart(report)),
            confusions=top_confusions(report),
            verdict_row=next((m for m in report.evaluation.metrics if m.name == report.verdict.metric), None),
            style=Markup(style),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            errors_href="data:text/csv;charset=utf-8," + quote(errors_csv(report)),
        )
    )


def charts(report: RunReport, width: int) -> dict[str, str]:
    """The page's charts by name, for one width; a chart with nothing to draw is left out."""
    v, goal, lengths = report.verdict, report.objective, report.lengths
    drawn = {
        "effect": plots.effect_chart(v.effect, v.interval, points=goal.unit == "share", width=width),
        "candidates": plots.candidate_chart(report.candidates, goal.metric, goal.unit, width),
        "lengths": plots.length_chart(lengths.histogram, lengths.max_length, width) if lengths else "",
        "ledger": plots.ledger_chart(report.data.ledger, width),
        "reliability": reliability_chart(report.evaluation.reliability, width),
    }
    for name in curve_names(report):
        assert report.training is not None
        drawn[f"curve {name}"] = plots.curve_chart(report.training.curves, name, report.training.best_step, width)
    return {name: svg for name, svg in drawn.items() if svg}


def curve_names(report: RunReport) -> list[str]:
    """The learning curves that are drawn: the loss first, then the metrics by name."""
    points = report.training.curves if report.training else ()
    drawn = {p.name for p in points if p.split in plots.SPLIT_COLOURS or p.split == "general"}
    return sorted(drawn, key=lambda n: (n != "loss", n))


def confusion_chart(report: RunReport) -> str:
    """The confusion matrix, or empty text. It has one width: a phone scrolls it."""
    confusion = report.evaluation.confusion
    return plots.confusion_chart(confusion) if confusion and confusion.labels else ""


def top_confusions(report: RunReport, most: int = 8) -> list[tuple[str, str, int, int]]:
    """The most frequent wrong cells: (wanted, answered, rows, rows of the wanted class)."""
    found = report.evaluation.confusion
    if found is None:
        return []
    wrong = [
        (found.labels[i], found.labels[j], n, sum(counts))
        for i, counts in enumerate(found.counts)
        for j, n in enumerate(counts)
        if n and i != j
    ]
    return sorted(wrong, key=lambda cell: (-cell[2], cell[0], cell[1]))[:most]


def _both_widths(report: RunReport) -> dict[str, tuple[Markup, Markup]]:
    from markupsafe import Markup

    wide, narrow = charts(report, plots.WIDTH), charts(report, plots.NARROW)
    return {name: (Markup(svg), Markup(narrow[name])) for name, svg in wide.items()}


def dark_charts() -> str:
    """Style rules that give the charts' inks their dark colours; paper stays light."""
    rules = "".join(f'svg [{a}="{light}"]{{{a}:{DARK_INK[name]}}}' for name, light in plots.INK.items() for a in ("fill", "stroke"))
    return f"\n@media screen and (prefers-color-scheme:dark){{{rules}}}\n"


def require(*modules: str) -> None:
    """Raises MachineError for a library of the `report` extra that is not there."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(f"the report needs {', '.join(missing)}: pip install 'luthier[report]'")


def environment() -> Environment:
    """The templates' environment: every value is escaped, an unknown name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for f in (
        numbers.value, numbers.difference, numbers.interval, numbers.difference_interval, numbers.estimate,
        numbers.estimated_difference, numbers.p_value, numbers.percent, numbers.count, numbers.large, numbers.seconds,
        numbers.megabytes, numbers.watt_hours, numbers.setting, numbers.detectable, numbers.opponent, numbers.bar_asked,
        numbers.bar_measured, numbers.bars_sentence, numbers.refused_sentence, numbers.shift_name, numbers.shift_change,
        numbers.shift_words, numbers.tested,
    ):  # fmt: skip
        env.filters[f.__name__] = f
    env.filters.update(first_words=first_words, breakable=breakable, class_sizes=class_sizes, interval_methods=interval_methods)
    return env


def breakable(text: str) -> Markup:
    """The text, escaped, with a place to break the line after each underscore of a long name."""
    from markupsafe import Markup, escape

    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def interval_methods(evaluation: Evaluation) -> str:
    """`95%: Wilson, Newcombe`: levels and methods of the intervals in the metrics table."""
    found = [x for m in evaluation.metrics for x in (m.baseline, m.tuned, m.difference) if x is not None]
    levels = ", ".join(dict.fromkeys(numbers.percent(x.level) for x in found))
    methods = ", ".join(dict.fromkeys(x.method for x in found if x.method))
    return f"{levels}: {methods}" if methods else levels


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
