"""Markdown pieces: escaped cells, tables, and the short verdict summary for a CI comment.

One decision: text that came from data or a user is escaped once, in `safe`, so that it can neither break a
table nor smuggle HTML, links or mentions into a page that renders the Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from luthier.report import numbers
from luthier.report.model import RunReport

_SPECIAL = re.compile(r"([\\`*_\[\]#|~<>$])")


def safe(text: str) -> str:
    """One line of text that Markdown shows as it is (no markup, no HTML, no link, no @mention)."""
    flat = " ".join(text.split())
    escaped = _SPECIAL.sub(r"\\\1", flat).replace("&", "&amp;").replace("\\<", "&lt;").replace("\\>", "&gt;")
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//").replace("www.", "www\u200b.")


def code(text: str) -> str:
    """Inline code that holds any text, backticks too."""
    flat = " ".join(text.split())
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {flat} {fence}" if longest else f"`{flat}`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Cells are taken as they are: pass user text through `safe` first."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def verdict_comment(report: RunReport) -> str:
    """A few lines for a pull request or a CI job: the verdict, its figures, the metrics, how to repeat it."""
    v, unit = report.verdict, report.objective.unit
    number = f" {report.run.number}" if report.run.number is not None else ""
    lines = [
        f"**{v.decision.capitalize()}** (run{number}, {safe(report.run.name)}): {safe(numbers.verdict_sentence(report))}",
        "",
        f"{numbers.verdict_figures(v, unit)}. {numbers.detectable(v, unit)}",
        "",
    ]
    if report.bars:
        lines += [bars_table(report), ""]
    if report.evaluation.metrics:
        lines += [metrics_table(report), ""]
    lines += [f"Again: {code(c)}" for c in report.run.commands[:1]]
    return "\n".join(lines).rstrip() + "\n"


def metrics_table(report: RunReport) -> str:
    """Baseline, tuned and their difference on the sealed rows, with intervals."""
    rows = [
        [
            safe(m.name),
            numbers.estimate(m.baseline, m.unit),
            numbers.estimate(m.tuned, m.unit),
            numbers.estimated_difference(m.difference, m.unit),
            numbers.tested(m),
        ]
        for m in report.evaluation.metrics
    ]
    return table(("metric", "baseline", "tuned", "difference", "paired test"), rows)


def bars_table(report: RunReport) -> str:
    """What the objective asks of each metric, what was measured, and the outcome."""
    rows = [[safe(numbers.bar_asked(bar)), safe(numbers.bar_measured(bar)), bar.outcome] for bar in report.bars]
    return table(("bar", "measured", "outcome"), rows)


def robustness_table(report: RunReport) -> str:
    """Rows of other kinds and changed rows, with the change and its interval."""
    unit = report.objective.unit
    rows = [
        [safe(numbers.shift_name(x)), numbers.count(x.after.n), numbers.value(x.before, unit), numbers.estimate(x.after, unit),
         numbers.shift_change(x, unit), numbers.shift_words(x)]
        for x in report.robustness
    ]  # fmt: skip
    return table(("rows", "n", "before", "after", "change", "proven"), rows)
