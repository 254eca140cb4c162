"""compare: any number of runs in one table, with the groups that cannot be told apart.

One decision: with two runs the exit code answers whether the second is better than the first; with more there is no one question,
and the code is 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import DEFAULT, File, Json, Reason
from luthier.cli.process import emit, guard, say

if TYPE_CHECKING:
    from luthier.report.compare_model import ComparedRun, RunsComparison
    from luthier.report.sections import Estimate

Runs = Annotated[
    list[str] | None,
    typer.Argument(help="Two or more runs: numbers, names, `latest`, or the folder of a run of another project.", show_default=False),
]
Out = Annotated[Path | None, typer.Option("--out", help="Write a page with tables, curves and plots: a new .html file.")]


def compare(runs: Runs = None, file: File = DEFAULT, out: Out = None, reason: Reason = None, json: Json = False) -> None:
    """The tuned models of any number of runs on the same sealed rows: every pair tested, groups, costs, what differs."""

    def verb() -> int:
        from luthier.cli.documents import CompareDocument
        from luthier.cli.tables import print_verdict
        from luthier.core.errors import UserError
        from luthier.pipeline.compare import compare_runs
        from luthier.pipeline.workspace import Workspace

        if out is not None and (out.suffix != ".html" or out.exists()):
            raise UserError("the page must be a new .html file", str(out), "--out", "choose another name")
        workspace = Workspace.open(file)
        found, pair = compare_runs(workspace, runs or [], reason)
        if out is not None:
            write_page(found, f"{workspace.project.name}: {len(found.runs)} runs", out)
        if json:
            body = found.model_dump(mode="json", exclude={"runs": {"__all__": {"curves"}}, "looks": True})
            names = {"a": pair.a, "b": pair.b, "verdict": pair.verdict.model_dump(mode="json")} if pair else {}
            emit(CompareDocument(**names, looks=found.looks, comparison=body, page=str(out) if out else None))
        print_runs(found)
        if pair is not None:
            print_verdict(pair.a, pair.b, pair.verdict, found.looks)
        if out is not None:
            say(f"the page: {out}")
        return 0 if pair is None or pair.verdict.decision == "better" else 1

    guard(verb, json)


def write_page(found: RunsComparison, title: str, out: Path) -> None:
    """The HTML page."""
    from luthier.core.files import write_atomic
    from luthier.report.compare_page import render_compare_page

    write_atomic(out, render_compare_page(found, title).encode())


def print_runs(found: RunsComparison) -> None:
    """The runs from best to worst, the words, the warnings and what differs."""
    from luthier.cli.tables import print_table
    from luthier.report import numbers

    columns = ("run", "state", found.metric.replace("_", " "), "group", *(m.replace("_", " ") for m in found.other_metrics))
    title = f"{found.num_rows:,} sealed rows, {numbers.percent(1 - found.alpha)} intervals; looks so far: {found.looks}"
    print_table(title, (*columns, "training", "ms an answer"), [_cells(found, run) for run in found.runs])
    for line in found.words:
        say(f"- {line}")
    for line in found.warnings:
        say(f"- mind: {line}")
    if found.differences:
        labels = [r.label for r in found.runs]
        rows = [(d.key, *(numbers.setting(d.values[n]) if n in d.values else "-" for n in labels)) for d in found.differences]
        print_table("what differs", ("setting", *labels), rows)


def _cells(found: RunsComparison, run: ComparedRun) -> tuple[str, ...]:
    from luthier.report import numbers

    figures = [_figure(run.metrics.get(name)) for name in found.other_metrics]
    cost = run.cost
    each = "-" if cost is None or cost.ms_per_row is None else f"{cost.ms_per_row:.3g}"
    trained = "-" if cost is None else numbers.seconds(cost.train_seconds)
    return (run.label, run.state, _figure(run.primary), run.group_letters, *figures, trained, each)


def _figure(e: Estimate | None) -> str:
    return "-" if e is None else f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
