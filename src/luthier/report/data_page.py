"""The page of `luthier data report`: one self-contained HTML file with plots, and each finding beside its fix.

One decision: it is made of the run report's own pieces (style, inks, policy), so a page of data is read and printed like one
of a run, and no request leaves it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from luthier.report import plots
from luthier.report.data_model import DataReport
from luthier.report.flow_plot import flow_chart
from luthier.report.page import TEMPLATES, dark_charts, environment, require

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_BARS = 30


def render_data_page(report: DataReport) -> str:
    """The whole page as text. Raises MachineError when a library of the `report` extra is missing."""
    require("altair", "vl_convert", "jinja2")
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8") + dark_charts()
    return (
        environment()
        .get_template("data.html.j2")
        .render(
            r=report,
            charts=_both_widths(report),
            left=report.ledger[-1].kept + report.ledger[-1].changed if report.ledger else 0,
            style=Markup(style),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def data_charts(report: DataReport, width: int) -> dict[str, str]:
    """The page's charts by name, for one width; a chart with nothing to draw is left out."""
    drawn = {
        "flow": flow_chart(report.ledger, width),
        "languages": plots.bar_chart(list(report.languages.items())[:MOST_BARS], "languages", "rows", width),
        "labels": plots.bar_chart(sorted(report.labels.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_BARS], "labels", "rows", width),
        "copies": plots.bar_chart(
            [(f"{size} rows", n) for size, n in report.copies.sizes.items()][:MOST_BARS], "copies", "clusters", width
        ),
    }
    for column in report.lengths:
        drawn[f"lengths {column.name}"] = plots.length_chart(column.histogram, None, width, f"characters of the {column.name}")
    return {name: svg for name, svg in drawn.items() if svg}


def _both_widths(report: DataReport) -> dict[str, tuple[Markup, Markup]]:
    from markupsafe import Markup

    wide, narrow = data_charts(report, plots.WIDTH), data_charts(report, plots.NARROW)
    return {name: (Markup(svg), Markup(narrow[name])) for name, svg in wide.items()}
