"""The runs that a comparison is about: found by number, name, `latest` or folder, with what each has left on disk so far.

One decision: a run's figures are read from its artifacts, each verified, and its curves from wherever they are now, so that a run
that is still training, was stopped or failed is shown as far as it came.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.artifacts import Predictions
from luthier.core.config import flat, read_yaml
from luthier.core.errors import UserError, did_you_mean
from luthier.core.record import read_record, verify
from luthier.core.stage import Built
from luthier.pipeline.run import KEYS
from luthier.pipeline.workspace import Workspace, database_in
from luthier.report.compare_model import RunCost
from luthier.report.sections import CurvePoint

if TYPE_CHECKING:
    from luthier.core.database import Database

LATEST = "latest"
LEFT_OUT = ("seconds_per_step", "unique_tokens")


@dataclass(frozen=True)
class FoundRun:
    """One run: the `.luthier` folder and database that it is in, its row there, and its artifacts' keys by stage."""

    home: Path
    database: Database
    row: dict[str, Any]
    links: dict[str, str]
    label: str

    @property
    def number(self) -> int:
        """Its number in its project."""
        return self.row["number"]

    @property
    def folder(self) -> Path:
        """`runs/<number>-<name>`, which may not be there."""
        return self.home / "runs" / f"{self.number:04d}-{self.row['name']}"

    def artifact(self, role: str, stage: str) -> Path:
        """The folder of the finished artifact that the run uses as `role`."""
        return self.home / "artifacts" / f"{stage}-{self.links[role][:12]}"


def find_runs(workspace: Workspace, names: list[str]) -> list[FoundRun]:
    """The runs of these names, each once. Raises UserError for fewer than two, one given twice, or an unknown one."""
    runs = [_find(workspace, name) for name in names]
    if len(runs) < 2:
        known = ", ".join(f"{r['number']} ({r['name']})" for r in workspace.database.list_runs()) or "none yet"
        got = f"{len(runs)} run" + ("" if len(runs) == 1 else "s")
        raise UserError("at least two different runs are wanted", got, "compare", f"its runs: {known}")
    for i, run in enumerate(runs):
        if any((run.home, run.number) == (other.home, other.number) for other in runs[:i]):
            raise UserError("at least two different runs are wanted", f"run {run.number} twice", "compare")
    labels = [run.label for run in runs]
    return [replace(r, label=f"{r.home.parent}: {r.label}") if labels.count(r.label) > 1 else r for r in runs]


def _find(workspace: Workspace, name: str) -> FoundRun:
    if "/" in name:
        return _in_folder(workspace, Path(name))
    runs = workspace.database.list_runs()
    if name == LATEST and runs and all(r["name"] != LATEST for r in runs):
        row = runs[0]
    else:
        row = workspace.database.find_run(name)
    label = f"run {row['number']} ({row['name']})"
    return FoundRun(workspace.home.resolve(), workspace.database, row, workspace.database.links(row["number"]), label)


def _in_folder(workspace: Workspace, given: Path) -> FoundRun:
    """A run by its folder, `<project>/.luthier/runs/0003-name`, of this project or another one."""
    folder = given.resolve()
    home, like = folder.parent.parent, ".luthier/runs/0001-name"
    if folder.parent.name != "runs" or not (home / "luthier.db").is_file():
        raise UserError("a run's folder is wanted", str(given), "compare", f"it looks like PROJECT/{like}")
    database = workspace.database if home == workspace.home.resolve() else database_in(home)
    for row in database.list_runs():
        if f"{row['number']:04d}-{row['name']}" == folder.name:
            own = database is workspace.database
            label = f"run {row['number']} ({row['name']})" if own else f"{home.parent.name}: run {row['number']} ({row['name']})"
            return FoundRun(home, database, row, database.links(row["number"]), label)
    known = [f"{r['number']:04d}-{r['name']}" for r in database.list_runs()]
    raise UserError("a run's folder is wanted", str(given), "compare", did_you_mean(folder.name, known) or "there are no runs yet")


def predictions_of(run: FoundRun, role: str = "tuned") -> Built[Predictions]:
    """The finished evaluation `role` (tuned or baseline) of a run, verified. Raises UserError when it has none."""
    if role not in run.links:
        must, fix = "the run must have reached its evaluation", "finish it with `luthier run`"
        raise UserError(must, f"run {run.number} is {run.row['state']}", "compare", fix)
    folder = run.artifact(role, "evaluate")
    record = verify(folder)
    result = Predictions.model_validate(record["result"])
    return Built(stage="evaluate", key=run.links[role], path=folder, result=result, seconds=record["seconds"], cached=True)


def rows_id(predictions: Built[Predictions]) -> str:
    """Which sealed rows these are, for the count of looks."""
    return read_record(predictions.path)["inputs"]["dataset"]


def cost_of(run: FoundRun) -> RunCost | None:
    """What the run took; None before its training is finished."""
    if "train" not in run.links:
        return None
    record = read_record(run.artifact("train", "train"))
    figures = Predictions.model_validate(read_record(run.artifact("tuned", "evaluate"))["result"]) if "tuned" in run.links else None
    return RunCost(
        train_seconds=record["seconds"],
        trained_tokens=record["result"]["trained_tokens"],
        num_trainable=record["result"]["num_trainable"],
        peak_memory_mb=record["cost"]["peak_memory_mb"],
        energy_wh=record["cost"]["energy_wh_estimate"],
        ms_per_row=1000 * figures.seconds / figures.num_rows if figures and figures.num_rows and figures.seconds else None,
    )


def curves_of(run: FoundRun) -> tuple[CurvePoint, ...]:
    """The learning curves: of the finished training, or as far as one that goes on, was stopped or failed has come."""
    if "train" in run.links:
        place = run.artifact("train", "train")
    else:
        key = _planned_keys(run).get("train", "")
        finished = run.home / "artifacts" / f"train-{key[:12]}"  # another run's, or finished since
        place = finished if finished.is_dir() else run.home / "work" / key[:12]
    path = place / "metrics.jsonl"
    if not path.is_file():
        return ()
    points = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # a line without an end is being written, or was torn by a kill
            body = json.loads(line)
            points.append(CurvePoint(**{**body, "value": body["value"] if math.isfinite(body["value"]) else None}))
    return tuple(p for p in points if p.name not in LEFT_OUT)


def _planned_keys(run: FoundRun) -> dict[str, str]:
    """The keys of the run's stages, written when it began; a run of an earlier version has none."""
    path = run.folder / KEYS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def settings_of(run: FoundRun) -> dict[str, Any] | None:
    """The run's resolved settings by dotted name, and the content key of its rows; None when its folder has none."""
    path = run.folder / "config.resolved.yaml"
    if not path.is_file():
        return None
    settings = {k: v for k, v in flat(read_yaml(path)).items() if k != "name"}
    rows = run.links.get("rows") or _planned_keys(run).get("rows")
    return {**settings, **({"(content of the rows)": rows[:12]} if rows else {})}


def task_of(settings: dict[str, Any] | None) -> str:
    """The task that the settings name; empty when they are not there."""
    return str((settings or {}).get("objective.task", ""))
