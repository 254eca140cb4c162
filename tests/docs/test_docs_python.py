"""`luthier.load(...).run()`, and the claims of docs/capabilities.md that no other test shows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_blocks import REPO, blocks_of
from typer.testing import CliRunner

import luthier
from luthier.cli.main import app
from luthier.core.errors import UserError
from luthier.core.events import Event, StageFinished
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import load as load_scorer
from toy_project import toy_settings, write_toy


@pytest.fixture
def project(finished_toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished toy project, to change, as the working folder."""
    folder = tmp_path / "toy"
    shutil.copytree(finished_toy, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def _json(*words: str) -> dict[str, Any]:
    return json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)


def test_a_finished_run_is_found(project: Path) -> None:
    outcome = luthier.load("luthier.yaml").run()
    assert (outcome.number, outcome.cached) == (1, True)
    assert outcome.report.verdict.decision in ("better", "not proven", "worse")
    assert luthier.load(project / "luthier.yaml").workspace.project.name == "toy"


def test_a_run_is_silent_and_tells_an_observer(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    built: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, StageFinished) and not event.cached:
            built.append(event.stage)

    outcome = luthier.load(overrides=["evaluate.alpha=0.01"]).run(watch)
    assert (outcome.cached, built) == (False, ["judge"])
    assert capfd.readouterr() == ("", "")


def test_a_wrong_project_is_the_users_error(project: Path) -> None:
    with pytest.raises(UserError, match="did you mean `train`"):
        luthier.load(overrides=["trian.epochs=1"])
    with pytest.raises(UserError, match="must exist"):
        luthier.load("luthier.yml")


def test_importing_luthier_imports_nothing_heavy() -> None:
    code = "import sys, luthier; print(sorted({'torch', 'pydantic', 'sqlalchemy', 'pyarrow', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_keeps_its_objective(project: Path) -> None:
    outcome = luthier.load().run()
    wanted = toy_settings(Path("base"))["objective"]
    assert (outcome.report.objective.goal, outcome.report.objective.metric) == (wanted["goal"], wanted["metric"])
    kept = yaml.safe_load((outcome.folder / "config.resolved.yaml").read_text(encoding="utf-8"))["objective"]
    assert (kept["task"], kept["goal"]) == (wanted["task"], wanted["goal"])


def test_the_opponent_is_measured_with_every_way_of_asking(project: Path) -> None:
    report = luthier.load().run().report
    ways = {c.name for c in report.candidates if c.role == "baseline" and c.split == "validation"}
    assert ways == {"zero-shot", "few-shot-3"}
    assert sum(c.chosen for c in report.candidates if c.split == "validation") == 1
    samples = report.evaluation
    assert samples.gained + samples.lost + samples.both_right
    assert all(a.baseline is not None and a.tuned for a in samples.gained + samples.lost + samples.both_right)


def test_another_length_of_training_asks_the_base_no_second_time(project: Path) -> None:
    states = {step["role"]: step["state"] for step in _json("plan", "train.epochs=1")["steps"]}
    assert states["prompting"] == states["baseline"] == "built"
    assert states["train"] == states["tuned"] == "to build"


def test_the_plan_warns_of_an_unusual_learning_rate(project: Path) -> None:
    def warned(rate: str) -> bool:
        return any("--lr-range" in line for line in _json("plan", f"train.learning_rate={rate}")["advice"])

    assert warned("0.05")
    assert warned("1e-6")
    assert not warned("2e-4")


def test_the_curves_hold_both_splits(project: Path) -> None:
    folder = luthier.load().run().folder
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {(p["split"], p["name"]) for p in points}
    assert {("train", "loss"), ("validation", "loss"), ("validation", "accuracy"), ("train_sample", "accuracy")} <= names
    recipe = luthier.load().workspace.project.train
    assert max(p["step"] for p in points) == recipe.total_steps(60)


def test_training_stops_early_and_keeps_the_best(learner_base: Path, tmp_path: Path) -> None:
    write_toy(tmp_path, learner_base)
    recipe = ["train.watch=loss", "train.early_stopping.patience=2", "train.early_stopping.min_delta=1000"]  # no gain is large enough
    length = ["train.epochs=2", "train.evaluations=8", "train.train_sample=0"]
    project = luthier.load(tmp_path / "luthier.yaml", [*recipe, *length]).workspace
    built = project.store.build(project.graph.train, project.project.execution)
    lines = (built.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = {p["step"]: p["value"] for p in map(json.loads, lines) if (p["split"], p["name"]) == ("validation", "loss") and p["step"] > 0}
    assert built.result.stopped.startswith("early")
    assert built.result.steps < project.project.train.total_steps(60)
    assert built.result.best_step == min(losses, key=lambda step: losses[step])
    assert len(losses) == 3  # the first, and two without a gain


def test_two_runs_are_paired_and_the_comparison_is_a_look(project: Path) -> None:
    first = luthier.load().run().report.verdict
    luthier.load(overrides=["train.epochs=1"]).run(reason="a shorter training")
    compared = _json("compare", "2", "1", "--reason", "which is better")
    assert compared["verdict"]["num_rows"] == first.num_rows
    assert compared["looks"] == 3
    assert _json("compare", "2", "1")["looks"] == 3


def test_the_lineage_reaches_the_rows(project: Path) -> None:
    lineage = {step["stage"]: step for step in _json("show", "1")["lineage"]}
    by_key = {step["key"]: step for step in lineage.values()}
    assert by_key[lineage["train"]["inputs"]["dataset"]]["stage"] == "split"
    assert by_key[lineage["split"]["inputs"]["dataset"]]["stage"] == "ingest"


def test_the_scorer_of_the_contributing_guide_works(tmp_path: Path) -> None:
    block = next(b for b in blocks_of(REPO / "CONTRIBUTING.md") if b.language == "python")
    file = tmp_path / "starts_with.py"
    file.write_text(block.text, encoding="utf-8")
    scorer = load_scorer(f"{file}:StartsWith")
    row = Example((Message("user", "Which?"), Message("assistant", "card_lost")), Source("rows.csv", "row 1"))
    assert [scorer(row, text).value for text in ("card_lost, I think", "", "top_up")] == [1.0, 0.0, 0.0]
    assert (scorer.name, scorer.measure) == ("starts_with", "binary")
