"""Comparing runs: the tuned models of any number of them, every pair tested on the same sealed rows.

One decision: a comparison shows sealed numbers, so it is a look like any other, is counted and needs a reason; runs that answered
different rows are compared on the rows that all of them answered, and that is said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from luthier.core.artifacts import Predictions, Verdict
from luthier.core.errors import UserError
from luthier.core.keys import digest
from luthier.core.stage import Built
from luthier.parts.scorers import load
from luthier.parts.scorers.summary import compare_answers, estimate_rows, judge_pairs
from luthier.pipeline.compare_sources import FoundRun, cost_of, curves_of, find_runs, predictions_of, rows_id, settings_of, task_of
from luthier.pipeline.looks import looks_in, reason_of, refused
from luthier.pipeline.workspace import Workspace
from luthier.report.compare_model import ComparedRun, Difference, RunPair, RunsComparison
from luthier.report.sections import Estimate
from luthier.stages.choose.bench import letter
from luthier.stages.evaluate.predictions import read_predictions

if TYPE_CHECKING:
    from luthier.stats.groups import Comparison

Row = dict[str, Any]


@dataclass(frozen=True)
class PairVerdict:
    """`b` against `a`, by name: the verdict of two runs, given in this order."""

    a: str
    b: str
    verdict: Verdict


def compare_runs(workspace: Workspace, names: list[str], reason: str | None = None) -> tuple[RunsComparison, PairVerdict | None]:
    """The comparison of these runs; with the verdict of the second against the first where there are two.

    Raises UserError for fewer than two evaluated runs, different tasks or metrics, no row that all of them answered, or a comparison
    that is new and has no `reason`.
    """
    runs = find_runs(workspace, names)
    settings = {r.label: settings_of(r) for r in runs}
    evaluated = [r for r in runs if "tuned" in r.links]
    if len(evaluated) < 2:
        predictions_of(next(r for r in runs if r not in evaluated))
    built = {r.label: predictions_of(r) for r in evaluated}
    metric, task = _metric(workspace, built), _task({label: task_of(found) for label, found in settings.items()})
    answers, warnings = _common({label: read_predictions(b.path) for label, b in built.items()})
    alpha, looks = workspace.project.evaluate.alpha, _take_look(evaluated, built, reason_of(workspace, reason))
    verdict = None
    if len(runs) == 2:
        a, b = (r.label for r in runs)
        verdict = PairVerdict(a, b, judge_pairs(metric, answers[b], answers[a], alpha))
    tested = compare_answers(metric, answers, alpha)
    shown = _ranked([_shown(r, built.get(r.label), answers.get(r.label), metric, bool(warnings)) for r in runs], tested)
    said = (*warnings, *_unscored(tested, answers), *_unfinished(shown), *_without_settings(settings))
    found = RunsComparison(
        metric=metric.name,
        units={s.name: s.unit for s in (metric, *workspace.project.objective.others())},
        task=task,
        alpha=alpha,
        num_rows=tested.num_rows,
        runs=tuple(shown),
        pairs=tuple(RunPair(**asdict(p)) for p in tested.pairs),
        groups=tested.groups,
        words=_words(tested, shown, metric.name),
        warnings=said,
        differences=differences(settings),
        looks=looks,
    )
    return found, verdict


def _metric(workspace: Workspace, built: dict[str, Built[Predictions]]) -> Any:
    """The deciding metric: this project's where the runs have it, with its settings."""
    names = list(dict.fromkeys(b.result.metric for b in built.values()))
    if len(names) > 1:
        raise UserError("all runs must have the same metric", " and ".join(names), "compare")
    primary = workspace.project.objective.primary()
    return primary if primary.name == names[0] else load(names[0])


def _task(tasks: dict[str, str]) -> str:
    known = list(dict.fromkeys(t for t in tasks.values() if t))
    if len(known) > 1:
        raise UserError("all runs must have the same task", "; ".join(f"{label}: {t}" for label, t in tasks.items() if t), "compare")
    return known[0] if known else ""


def _common(answers: dict[str, list[Row]]) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Each run's answers to the rows that all runs answered, in one order; what that leaves out, in words."""
    by_row = {label: {(r["key"], r["reference"]): r for r in rows} for label, rows in answers.items()}
    first = next(iter(by_row.values()))
    common = [row for row in first if all(row in other for other in by_row.values())]
    counts = "; ".join(f"{label}: {len(rows):,}" for label, rows in by_row.items())
    if not common:
        fix = "compare runs with the same data, prompt and split"
        raise UserError("the runs must share sealed rows", f"none that all of them answered ({counts} rows)", "compare", fix)
    chosen = {label: [rows[row] for row in common] for label, rows in by_row.items()}
    if all(len(rows) == len(common) for rows in by_row.values()):
        return chosen, ()
    said = f"the runs answered different sealed rows ({counts}): they are compared on the {len(common):,} rows that all answered"
    return chosen, (said, "other metrics are of each run's own sealed rows")


def _shown(run: FoundRun, built: Built[Predictions] | None, rows: list[Row] | None, metric: Any, afresh: bool) -> ComparedRun:
    """One run as it is shown. afresh: its deciding figure is of the common rows and not of all that it answered."""
    curves = curves_of(run)
    metrics, primary = {}, None
    if built is not None and rows is not None:
        metrics = {name: Estimate.model_validate(figure) for name, figure in built.result.scores.items()}
        primary = (
            Estimate.model_validate(asdict(estimate_rows(metric, rows))) if afresh or metric.name not in metrics else metrics[metric.name]
        )
    return ComparedRun(
        label=run.label,
        project=run.home.parent.name,
        number=run.number,
        name=run.row["name"],
        state=run.row["state"],
        sentence=run.row["sentence"] or "",
        primary=primary,
        metrics=metrics,
        num_rows=built.result.num_rows if built else None,
        cost=cost_of(run),
        curves=curves,
        step=max((p.step for p in curves), default=None),
    )


def _ranked(runs: list[ComparedRun], tested: Comparison) -> list[ComparedRun]:
    """Best first with the letters of their groups, then the runs without figures in the order given."""
    by_label = {r.label: r for r in runs}
    letters = {name: "".join(letter(i) for i, group in enumerate(tested.groups) if name in group) for name in tested.ranked}
    best = [by_label[name].model_copy(update={"group_letters": letters[name]}) for name in tested.ranked]
    return best + [r for r in runs if r.primary is None]


def _words(tested: Comparison, runs: list[ComparedRun], metric: str) -> tuple[str, ...]:
    best = runs[0]
    assert best.primary is not None
    e = best.primary
    equal = [r.label for r in runs if r.primary is not None and r.primary.value == e.value]
    names = f"{', '.join(equal[:-1])} and {equal[-1]} have" if len(equal) > 1 else f"{best.label} has"
    out = [f"{names} the highest {metric.replace('_', ' ')}: {e.value:.3f} ({e.low:.3f} to {e.high:.3f} on {e.n:,} rows)"]
    out += tested.sentences()
    equals = [r for r in runs if r.cost is not None and r.label in tested.ranked and not tested.differ(best.label, r.label)]
    cheapest = min(equals, key=lambda r: r.cost.train_seconds if r.cost else 0.0, default=None)
    if cheapest is not None and cheapest is not best and best.cost is not None and cheapest.cost is not None:
        times = f"{cheapest.cost.train_seconds:,.0f} s against {best.cost.train_seconds:,.0f} s"
        out.append(f"of the runs that cannot be told apart from the best, {cheapest.label} took the least training: {times}")
    return tuple(out)


def _unscored(tested: Comparison, answers: dict[str, list[Row]]) -> tuple[str, ...]:
    rows = len(next(iter(answers.values())))
    left = rows - tested.num_rows
    return (f"{left:,} of {rows:,} rows have no score in at least one run and are in no pair",) if left else ()


def _unfinished(runs: list[ComparedRun]) -> tuple[str, ...]:
    out = []
    for run in runs:
        if run.primary is None:
            at = f" at step {run.step:,}" if run.step is not None else ""
            why = f": {run.sentence}" if run.sentence else ""
            out.append(f"{run.label} is {run.state}{at} and has no figure yet{why}")
    return tuple(out)


def _without_settings(settings: dict[str, dict[str, Any] | None]) -> tuple[str, ...]:
    return tuple(
        f"the settings of {label} are not in its folder and are not compared" for label, found in settings.items() if found is None
    )


def differences(settings: dict[str, dict[str, Any] | None]) -> tuple[Difference, ...]:
    """The settings that are not the same in all runs, by dotted name; a run without settings is left out."""
    known = {label: found for label, found in settings.items() if found is not None}
    keys = dict.fromkeys(key for found in known.values() for key in found)
    out = []
    for key in keys:
        values = {label: found[key] for label, found in known.items() if key in found}
        if len(values) < len(known) or len({repr(v) for v in values.values()}) > 1:
            out.append(Difference(key=key, values=values))
    return tuple(out)


def _take_look(runs: list[FoundRun], built: dict[str, Built[Predictions]], reason: str | None) -> int:
    """Record the look in the project of each run; the largest count of them. The same runs in any order are one look."""
    what = digest(["compare", *sorted(b.key for b in built.values())])
    places = [(run.database, rows_id(built[run.label])) for run in runs]
    for database, rows in places:
        known = database.list_looks(rows)
        if reason is None and known and what not in {look["what"] for look in known}:
            raise refused(looks_in(database, rows))
    said = f"a comparison of {', '.join(run.label for run in runs)}" + (f": {reason}" if reason else "")
    return max(database.add_look(rows, what, None, said) for database, rows in places)
