"""The page of `luthier compare --out`: one self-contained HTML file about any number of runs.

One decision: it is made of the run report's own pieces (style, inks, policy), so it is read and printed like one, and no request
leaves it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from luthier.report.compare_model import RunsComparison
from luthier.report.compare_plots import cost_chart, forest_chart, overlaid_chart
from luthier.report.page import TEMPLATES, dark_charts, environment, require
from luthier.report.plots import NARROW, WIDTH

if TYPE_CHECKING:
    from markupsafe import Markup


def render_compare_page(found: RunsComparison, title: str) -> str:
    """The whole page as text. Raises MachineError when a library of the `report` extra is missing."""
    require("altair", "vl_convert", "jinja2")
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8") + dark_charts()
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            r=found,
            title=title,
            charts=_both_widths(found),
            style=Markup(style),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def compare_charts(found: RunsComparison, width: int) -> dict[str, str]:
    """The page's charts by name, for one width; a chart with nothing to draw is left out."""
    drawn = {
        "runs": forest_chart(found, width),
        "validation metric": overlaid_chart(found.runs, "validation", found.metric, width),
        "validation loss": overlaid_chart(found.runs, "validation", "loss", width),
        "training loss": overlaid_chart(found.runs, "train", "loss", width),
        "training time": cost_chart(found, lambda r: r.cost.train_seconds if r.cost else None, "seconds of training", width),
        "answer time": cost_chart(found, lambda r: r.cost.ms_per_row if r.cost else None, "milliseconds for an answer", width),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def _both_widths(found: RunsComparison) -> dict[str, tuple[Markup, Markup]]:
    from markupsafe import Markup

    wide, narrow = compare_charts(found, WIDTH), compare_charts(found, NARROW)
    return {name: (Markup(svg), Markup(narrow[name])) for name, svg in wide.items()}
