"""The run's report on a terminal: the verdict's sentence first, then small tables.

One decision: it reads the same without colour and at 80 columns; colour only repeats what a word says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.report import numbers
from luthier.report.model import RunReport

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType
    from rich.table import Table

STYLES = {"better": "bold green", "not proven": "bold yellow", "worse": "bold red"}
BAR_STYLES = {"met": "green", "not proven": "yellow", "not met": "red"}


def summary(report: RunReport) -> Group:
    """The summary as something that a rich console prints."""
    from rich.console import Group
    from rich.text import Text

    v, unit = report.verdict, report.objective.unit
    parts: list[RenderableType] = [
        Text(v.decision.upper(), style=STYLES[v.decision]),
        Text(numbers.verdict_sentence(report), style="bold"),
        Text(numbers.verdict_figures(v, unit)),
        Text(numbers.detectable(v, unit), style="dim"),
        *([Text(numbers.bars_sentence(report.bars), style="bold")] if report.bars else []),
        *([Text(numbers.refused_sentence(report.refused), style="bold red")] if report.refused else []),
        Text(""),
        _candidates(report),
    ]
    if report.evaluation.metrics:
        parts += [Text(""), _metrics(report)]
    if report.bars:
        parts += [Text(""), _bars(report)]
    if report.robustness:
        parts += [Text(""), _robustness(report)]
    parts += [Text(line) for line in numbers.looks_lines(report.looks)]
    diagnosis = report.training.diagnosis if report.training else None
    parts += [Text(""), Text("Training: " + (diagnosis.text if diagnosis else numbers.NOT_MEASURED))]
    parts += [Text(f"  {r.setting}: {r.advice}") for r in (diagnosis.remedies if diagnosis else ())]
    parts += [Text("Training: " + x.text) for x in (report.training.further if report.training else ())]
    effects = report.side_effects
    parts += [Text(x.text) for x in ((effects.forgetting, effects.memorisation) if effects else ()) if x is not None]
    took = numbers.seconds(report.cost.total_seconds if report.cost else None)
    memory = numbers.megabytes(report.cost.peak_memory_mb if report.cost else None)
    parts.append(Text(f"Time: {took}   Memory: {memory}"))
    parts += [Text("Again: " + command) for command in report.run.commands[:1]]
    return Group(*parts)


def print_summary(report: RunReport, console: Console) -> None:
    """Print the summary; words of the report are never taken for markup."""
    console.print(summary(report), markup=False, highlight=False)


def _table(*columns: tuple[str, bool]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, number in columns:
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def _candidates(report: RunReport) -> RenderableType:
    from rich.text import Text

    metric, unit = report.objective.metric, report.objective.unit
    if not report.candidates:
        return Text(f"Baselines: {numbers.NOT_MEASURED}")
    table = _table(("candidate", False), ("rows", False), ("n", True), (metric, True))
    for c in report.candidates:
        found = c.metrics.get(metric)
        name = Text(c.name + (" (chosen)" if c.chosen else ""), style="bold" if c.role == "tuned" else "")
        table.add_row(name, Text(c.split), Text(numbers.count(found.n if found else None)), Text(numbers.estimate(found, unit)))
    return table


def _metrics(report: RunReport) -> Table:
    from rich.text import Text

    table = _table(("test rows", False), ("baseline", True), ("tuned", True), ("difference", True), ("paired test", True))
    for m in report.evaluation.metrics:
        difference = numbers.estimated_difference(m.difference, m.unit)
        cells = (m.name, numbers.estimate(m.baseline, m.unit), numbers.estimate(m.tuned, m.unit), difference, numbers.tested(m))
        table.add_row(*(Text(c.replace(" (", "\n(", 1)) for c in cells))
    return table


def _bars(report: RunReport) -> Table:
    from rich.text import Text

    table = _table(("bar", False), ("measured", True), ("outcome", False))
    for bar in report.bars:
        outcome = Text(bar.outcome, style=BAR_STYLES[bar.outcome])
        table.add_row(Text(numbers.bar_asked(bar)), Text(numbers.bar_measured(bar).replace(" (", "\n(", 1)), outcome)
    return table


def _robustness(report: RunReport) -> Table:
    from rich.text import Text

    unit = report.objective.unit
    table = _table(("other and changed rows", False), (report.objective.metric, True), ("change", True), ("answers changed", True))
    for row in report.robustness:
        changed = numbers.estimate(row.answers_changed) if row.answers_changed else ""
        cells = (numbers.shift_name(row), numbers.estimate(row.after, unit), numbers.shift_change(row, unit), changed)
        table.add_row(*(Text(c.replace(" (", "\n(", 1) if i else c) for i, c in enumerate(cells)))
    return table
