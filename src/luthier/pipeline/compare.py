"""Comparing two runs of a project: the tuned models, paired on the same sealed rows.

One decision: a comparison shows sealed numbers, so it is a look like any other and is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from luthier.core.artifacts import Predictions, Verdict
from luthier.core.errors import UserError
from luthier.core.keys import digest
from luthier.core.record import verify
from luthier.core.stage import Built
from luthier.parts.scorers import load
from luthier.pipeline.workspace import Workspace
from luthier.stages.evaluate.judge import compare


@dataclass(frozen=True)
class Comparison:
    """`b` against `a`, by name, with the verdict and the looks at these rows so far."""

    a: str
    b: str
    looks: int
    verdict: Verdict


def compare_runs(workspace: Workspace, a: str, b: str) -> Comparison:
    """The verdict of run `b`'s tuned model against run `a`'s. Raises UserError when they cannot be paired."""
    runs = [workspace.database.find_run(name) for name in (a, b)]
    if runs[0]["number"] == runs[1]["number"]:
        raise UserError("two different runs are wanted", f"run {runs[0]['number']} twice", "compare")
    left, right = (predictions_of(workspace, run, "tuned") for run in runs)
    if left.result.metric != right.result.metric:
        raise UserError("both runs must have the same metric", f"{left.result.metric} and {right.result.metric}", "compare")
    primary = workspace.project.objective.primary()
    metric = primary if primary.name == right.result.metric else load(right.result.metric)
    verdict = compare(right, left, metric, workspace.project.evaluate.alpha, seed=0)
    looks = workspace.database.add_look(_rows_key(right), digest(["compare", left.key, right.key]), None)
    names = [f"run {run['number']} ({run['name']})" for run in runs]
    return Comparison(names[0], names[1], looks, verdict)


def predictions_of(workspace: Workspace, run: dict[str, Any], role: str) -> Built[Predictions]:
    """The finished evaluation `role` (tuned or baseline) of a run, verified."""
    key = workspace.database.links(run["number"]).get(role)
    if key is None:
        raise UserError(
            "the run must have reached its evaluation", f"run {run['number']} is {run['state']}", "compare", "finish it with `luthier run`"
        )
    folder = workspace.store.artifacts / f"evaluate-{key[:12]}"
    record = verify(folder)
    return Built(
        stage="evaluate", key=key, path=folder, result=Predictions.model_validate(record["result"]), seconds=record["seconds"], cached=True
    )


def _rows_key(predictions: Built[Predictions]) -> str:
    return verify(predictions.path)["inputs"]["dataset"]
