"""luthier bench: candidates measured on the project's own validation rows, side by side.

One decision: every figure is an artifact of the store, found again by its content key, so a bench that was killed, or one with a
further candidate, measures only what is missing; the table itself is drawn anew each time, below `.luthier/bench/`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.artifacts import Footprint, Predictions
from luthier.core.events import Note
from luthier.core.files import make_folder, write_atomic, write_json
from luthier.core.keys import digest
from luthier.core.record import WATTS_PER_CORE, provenance
from luthier.core.stage import Built, Stage
from luthier.parts.legal.fit import licence_fit
from luthier.pipeline.bench_candidates import BaseKind, Candidate, base_stage, candidates
from luthier.pipeline.run import RunOptions
from luthier.pipeline.workspace import Workspace
from luthier.stages.choose.bench import BenchPlan, BenchRow, BenchTable, Skipped, in_words, ranked
from luthier.stages.choose.decide import Decision, decide
from luthier.stages.evaluate.predictions import read_predictions

TABLE, PLOT = "bench.json", "pareto.svg"
State = str


@dataclass(frozen=True)
class Bench:
    """The table, the folder of `bench.json` and `pareto.svg`, and what it says about fine-tuning."""

    table: BenchTable
    folder: Path
    decision: Decision


def run_bench(workspace: Workspace, options: RunOptions) -> Bench:
    """Measure every candidate and draw the table. Raises LuthierError; a stopped bench goes on later."""
    listed = list(candidates(workspace, lambda name: _built_kind(workspace, name, options), machine()))
    chosen = [c for c in listed if isinstance(c, Candidate)]
    began, measured = time.monotonic(), 0
    found: dict[str, tuple[Built[Predictions], Built[Footprint]]] = {}
    for number, candidate in enumerate(chosen, 1):
        fresh = not all(workspace.store.is_built(s) for s in candidate.figures())
        waiting = sum(_state(workspace, c) != "built" for c in chosen[number - 1 :])
        options.observer(Note(f"candidate {number} of {len(chosen)}: {candidate.name}{_eta(began, measured, waiting)}"))
        found[candidate.name] = _build(workspace, candidate.predictions, options), _build(workspace, candidate.footprint, options)
        measured += fresh
    skipped = tuple(s for s in listed if isinstance(s, Skipped))
    table = _table(workspace, chosen, found, skipped, options)
    decision = decide(table, _plan(workspace), {c.name: c.how for c in chosen if c.family == "tuned"})
    return Bench(table, _write(workspace, table, decision, chosen), decision)


def _plan(workspace: Workspace) -> BenchPlan:
    """What is good enough: `bench.at_least`, else the bar of the objective on its deciding metric."""
    project = workspace.project
    bar = project.objective.bars.get(project.objective.primary().name)
    if project.bench.at_least is not None or bar is None:
        return project.bench
    return project.bench.model_copy(update={"at_least": bar.at_least})


def planned(workspace: Workspace) -> Iterator[tuple[str, State, str]]:
    """(candidate, built | in progress | to build | skipped, what it is) without building anything."""
    for item in candidates(workspace, lambda name: _known_kind(workspace, name), machine()):
        if isinstance(item, Skipped):
            yield item.name, "skipped", item.reason
        else:
            yield item.name, _state(workspace, item), item.how or {"prompted": "asked as it is", "classical": "fitted"}[item.family]


def machine() -> str:
    """What latency and memory depend on: the processor and the cores that this process may use."""
    about = provenance()
    return f"{about['processor']}, {about['cores']} cores"


def _state(workspace: Workspace, candidate: Candidate) -> State:
    store, stages = workspace.store, candidate.figures()
    if all(store.is_built(s) for s in stages):
        return "built"
    begun = any(store.is_built(s) or store.in_progress(s) for s in (*stages, *([candidate.training] if candidate.training else [])))
    return "in progress" if begun else "to build"


def _eta(began: float, measured: int, waiting: int) -> str:
    """What is left at the pace of the candidates measured so far; candidates differ, so it is rough."""
    if not measured or not waiting:
        return ""
    minutes = (time.monotonic() - began) / measured * waiting / 60
    return f"; about {minutes:.0f} min left" if minutes >= 1 else "; less than a minute left"


def _build(workspace: Workspace, stage: Stage[Any], options: RunOptions) -> Built[Any]:
    return workspace.store.build(stage, workspace.project.execution, options.observer, options.stop_flag, options.wait)


def _built_kind(workspace: Workspace, name: str, options: RunOptions) -> BaseKind:
    return _build(workspace, base_stage(workspace, name), options).result.kind


def _known_kind(workspace: Workspace, name: str) -> BaseKind:
    """The kind of a base that may not have been fetched: an embedded one, or a folder."""
    from luthier.engine.models.embedded import embedded_named
    from luthier.engine.models.kinds import folder_kind

    stage, entry = base_stage(workspace, name), embedded_named(name)
    if workspace.store.is_built(stage):
        return workspace.store.build(stage, workspace.project.execution).result.kind
    if entry is not None:
        return entry.kind
    folder = workspace.root / name
    return folder_kind(folder) if (folder / "config.json").is_file() else "decoder"


def _table(
    workspace: Workspace,
    chosen: list[Candidate],
    found: dict[str, tuple[Built[Predictions], Built[Footprint]]],
    skipped: tuple[Skipped, ...],
    options: RunOptions,
) -> BenchTable:
    from luthier.parts.scorers.summary import compare_answers

    project = workspace.project
    metric, alpha = project.objective.primary(), project.evaluate.alpha
    rows = [_row(workspace, c, *found[c.name], project.bench, options) for c in chosen]
    answers = {name: read_predictions(predictions.path) for name, (predictions, _) in found.items()}
    comparison = compare_answers(metric, answers, alpha)
    split = _build(workspace, workspace.graph.split, options).result
    return BenchTable(
        metric=metric.name,
        unit=metric.unit,
        num_rows=comparison.num_rows,
        num_training_rows=split.counts["train"],
        alpha=alpha,
        machine=machine(),
        measured=max(f.result.measured for _, f in found.values()),
        rows=ranked(rows, comparison),
        pairs=tuple(dataclasses.asdict(p) for p in comparison.pairs),
        groups=comparison.groups,
        words=in_words(comparison, rows, metric.name),
        skipped=skipped,
    )


def _row(
    workspace: Workspace,
    candidate: Candidate,
    predictions: Built[Predictions],
    footprint: Built[Footprint],
    plan: BenchPlan,
    options: RunOptions,
) -> BenchRow:
    base = None if candidate.base is None else _build(workspace, candidate.base, options).result
    seconds = 0.0 if candidate.training is None else _build(workspace, candidate.training, options).seconds
    fits_use, fit_words = (None, "") if base is None else licence_fit(base.licence, workspace.project.objective.use)
    fit = None if candidate.fit is None else _build(workspace, candidate.fit, options).result
    figure, cost = predictions.result.scores[predictions.result.metric], footprint.result
    return BenchRow(
        name=candidate.name,
        family=candidate.family,
        base=None if base is None else base.name,
        value=figure["value"],
        low=figure["low"],
        high=figure["high"],
        latency_ms=cost.latency_ms["value"],
        latency_low=cost.latency_ms["low"],
        latency_high=cost.latency_ms["high"],
        peak_memory_mb=cost.peak_memory_mb,
        size_mb=cost.size_mb,
        energy_wh_per_1000=energy_wh_per_1000(cost),
        cost_per_1000=cost_per_1000(cost, plan.price_per_hour),
        train_seconds=seconds,
        tokens_per_character=cost.tokens_per_character,
        context_length=None if base is None else base.context_length,
        licence="none: made of your own rows" if base is None else base.licence,
        fits_use=fits_use,
        licence_fit=fit_words,
        perplexity=None if fit is None else fit.perplexity,
        bits_per_character=None if fit is None else fit.bits_per_character,
    )


def energy_wh_per_1000(footprint: Footprint) -> float:
    """Of 1,000 rows answered one by one, at 10 W for a busy core."""
    return footprint.cpu_seconds_per_row * 1000 * WATTS_PER_CORE / 3600


def cost_per_1000(footprint: Footprint, price_per_hour: float | None) -> float | None:
    """Of 1,000 rows answered one by one, at the price of an hour of the machine; None without one."""
    return None if price_per_hour is None else footprint.latency_ms["value"] / 3600 * price_per_hour


def _write(workspace: Workspace, table: BenchTable, decision: Decision, chosen: list[Candidate]) -> Path:
    from luthier.report.pareto_plot import Point, pareto_svg

    key = digest([s.key() for c in chosen for s in (c.predictions, c.footprint)])
    folder = workspace.home / "bench" / key[:12]
    make_folder(folder)
    points = [Point(r.name, r.family, r.latency_ms, r.value, r.low, r.high, r.front) for r in table.rows]
    write_json(folder / TABLE, {**table.model_dump(mode="json"), "decision": decision.model_dump(mode="json")})
    write_atomic(folder / PLOT, pareto_svg(points, table.metric).encode())
    return folder
