"""bench: candidates side by side on the project's own validation rows.

One decision: the table says for every figure what it was measured on, and the groups are told in words below it, because two
numbers beside each other are read as different whether they are or not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import DEFAULT, File, Json, Overrides, Wait
from luthier.cli.process import emit, guard, say

if TYPE_CHECKING:
    from luthier.pipeline.workspace import Workspace
    from luthier.stages.choose.bench import BenchRow, BenchTable

DryRun = Annotated[bool, typer.Option("--dry-run", help="List the candidates and what is already measured; build nothing.")]


def bench(overrides: Overrides = None, file: File = DEFAULT, wait: Wait = False, dry_run: DryRun = False, json: Json = False) -> None:
    """Candidates on your validation rows: prompted, tuned for a short while, and classical; quality, time, memory, groups."""

    def verb() -> int:
        from luthier.cli.documents import BenchDocument
        from luthier.cli.run_verbs import watched
        from luthier.pipeline.bench import run_bench
        from luthier.pipeline.workspace import Workspace

        workspace = Workspace.open(file, tuple(overrides or ()))
        if dry_run:
            return show_planned(workspace, json)
        done = watched(lambda options: run_bench(workspace, options), wait)
        if json:
            table, decision = done.table.model_dump(mode="json"), done.decision.model_dump(mode="json")
            emit(BenchDocument(project=workspace.project.name, folder=str(done.folder), table=table, decision=decision))
        print_bench(done.table)
        say(f"table and plot: {os.path.relpath(done.folder)}; `luthier plan --probe` says whether to fine-tune")
        return 0

    guard(verb, json)


def show_planned(workspace: Workspace, json: bool) -> int:
    """What a bench would measure."""
    from luthier.cli.documents import BenchPlanDocument, BenchStep
    from luthier.cli.tables import print_table
    from luthier.pipeline.bench import planned

    steps = tuple(BenchStep.model_validate({"name": n, "state": state, "what": what}) for n, state, what in planned(workspace))
    if json:
        emit(BenchPlanDocument(project=workspace.project.name, candidates=steps))
    print_table(f"{workspace.project.name}: candidates", ("candidate", "state", "what"), [(s.name, s.state, s.what) for s in steps])
    return 0


def print_bench(table: BenchTable) -> None:
    """The candidates from best to worst, what was skipped, and the groups in words."""
    from luthier.cli.tables import print_table

    title = f"{table.num_rows:,} validation rows, {table.num_training_rows:,} training rows; {table.machine}, {table.measured}"
    money = any(r.cost_per_1000 is not None for r in table.rows)
    costs = ("ms a row", "MB used", "MB disk", "Wh/1,000", *(("money/1,000",) if money else ()))
    print_table(title, ("candidate", table.metric.replace("_", " "), "group", *costs, "front"), [_cells(r, money) for r in table.rows])
    facts = [_facts(r) for r in table.rows if r.base]
    columns = ("base", "licence", "intended use", "context", "tokens a character", "perplexity of your text", "bits a character")
    print_table("", columns, list(dict.fromkeys(facts)))
    for line in table.words:
        say(f"- {line}")
    for skipped in table.skipped:
        say(f"- left out: {skipped.name}: {skipped.reason}")


def _cells(row: BenchRow, money: bool) -> tuple[str, ...]:
    quality = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
    latency = f"{_short(row.latency_ms)} ({_short(row.latency_low)} to {_short(row.latency_high)})"
    figures = (f"{row.peak_memory_mb:,.0f}", f"{row.size_mb:,.1f}", _short(row.energy_wh_per_1000))
    cost = () if not money else ("-" if row.cost_per_1000 is None else _short(row.cost_per_1000),)
    return (row.name, quality, row.group_letters, latency, *figures, *cost, "yes" if row.front else "")


def _facts(row: BenchRow) -> tuple[str, ...]:
    """What is known of the base of a candidate."""
    context = f"{row.context_length:,} tokens" if row.context_length else "any"
    return (row.base or "", row.licence, row.licence_fit, context, _rate(row), _figure(row.perplexity), _figure(row.bits_per_character))


def _figure(figure: dict[str, float] | None) -> str:
    return "-" if figure is None else f"{_short(figure['value'])} ({_short(figure['low'])} to {_short(figure['high'])})"


def _short(value: float) -> str:
    """Three digits, and no exponent for a large number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rate(row: BenchRow) -> str:
    return "-" if row.tokens_per_character is None else f"{row.tokens_per_character:.3f}"
