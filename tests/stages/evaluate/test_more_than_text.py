"""Metrics that read more than an answer's text: label probabilities, a fitted temperature, the rows' own answers; and bad inputs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.core.errors import UserError
from luthier.pipeline.plan import few_test_rows
from luthier.pipeline.project import load_project
from luthier.pipeline.run import RunOptions, run
from luthier.pipeline.workspace import Workspace
from luthier.stages.evaluate.judge import compare
from toy_project import toy_settings, write_settings, write_toy

METRICS = ["mcc", "ece", "brier", "log_loss", "perplexity", {"kind": "ece", "scaling": "temperature"}]


@pytest.fixture
def project(tmp_path: Path, learner_base: Path) -> Path:
    return write_toy(tmp_path / "toy", learner_base)


def with_objective(file: Path, base: Path, **objective: Any) -> Path:
    settings = toy_settings(base)
    settings["objective"] = {**settings["objective"], **objective}
    settings["evaluate"] = {"baselines": [{"name": "zero-shot"}]}
    write_settings(file.parent, settings)
    return file


def built(file: Path) -> tuple[Any, list[dict[str, Any]], dict[str, Any]]:
    workspace = Workspace.open(file, ())
    done = workspace.store.build(workspace.graph.baseline, workspace.project.execution, lambda event: None)
    rows = [json.loads(line) for line in (done.path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    return done, rows, json.loads((done.path / "scores.json").read_text(encoding="utf-8"))


def test_every_figure_can_be_computed_again_from_the_predictions(project: Path, learner_base: Path) -> None:
    done, rows, scores = built(with_objective(project, learner_base, metrics=METRICS))
    assert set(done.result.scores) == {"accuracy", "mcc", "ece", "brier", "log_loss", "perplexity", "ece_scaled"}
    temperature = scores["parts"]["ece_scaled"]["temperature"]
    assert {r["temperature"] for r in rows} == {temperature}
    p = np.exp([r["label_logprobs"] for r in rows])
    p /= p.sum(axis=1, keepdims=True)
    wanted = np.array([r["reference_choice"] for r in rows])
    truth = np.eye(3)[wanted]
    value = {name: e["value"] for name, e in done.result.scores.items()}
    assert value["brier"] == pytest.approx(((p - truth) ** 2).sum(axis=1).mean(), abs=1e-4)
    assert value["log_loss"] == pytest.approx(-np.log(p[np.arange(len(p)), wanted]).mean(), abs=1e-4)
    assert scores["parts"]["ece"]["right"] == pytest.approx(value["accuracy"])
    assert set(scores["reliability"]) == {"ece", "ece_scaled"}
    assert sum(b["num_rows"] for b in scores["reliability"]["ece"]) == len(rows)
    surprise = sum(-r["reference_logprob"] for r in rows) / sum(r["reference_tokens"] for r in rows)
    assert value["perplexity"] == pytest.approx(math.exp(surprise))
    for row in rows:  # a label scored among the choices and as the row's own answer is one number
        assert row["reference_logprob"] == pytest.approx(row["label_logprobs"][row["reference_choice"]], abs=1e-3)
    metrics = load_project(project).objective.others()
    for metric in metrics:
        same = compare(done, done, metric, 0.05, 0)
        assert same.tuned == pytest.approx(value[metric.name], abs=1e-4), metric.name
        assert same.decision == "not proven"


def test_a_metric_that_does_not_fit_the_task_is_refused(project: Path, learner_base: Path) -> None:
    for task, metric, words in (
        ("chat", "brier", "higher is better"),
        ("classify", "bleu", "the metric bleu is for the task answer or chat"),
        ("chat", "mcc", "the metric mcc is for the task classify, got the task chat"),
        ("summarise", "accuracy", "the metric accuracy is for the task classify or answer, got the task summarise"),
        ("translate", "entity_f1", "the metric entity_f1 is for the task extract"),
        ("sql", None, "the task sql needs a metric with settings"),
        ("code", None, "the task code needs a metric with settings"),
    ):
        with pytest.raises(UserError, match=words):
            load_project(with_objective(project, learner_base, task=task, metric=metric, metrics=[]))
    with pytest.raises(UserError, match="the metric ece is for the task classify"):
        load_project(with_objective(project, learner_base, task="chat", metric="token_f1", metrics=["ece"]))


def test_probabilities_of_generated_answers_are_asked_for_in_words(project: Path, learner_base: Path) -> None:
    file = with_objective(project, learner_base, metrics=["ece"])
    settings = toy_settings(learner_base)
    settings["objective"]["metrics"] = ["ece"]
    settings["evaluate"] = {"baselines": [{"name": "zero-shot"}], "decoding": {"kind": "text", "max_new_tokens": 2}}
    write_settings(file.parent, settings)
    with pytest.raises(UserError, match=r"ece needs the probability of every label, got an answer in words .*kind: labels"):
        built(file)


@pytest.mark.parametrize(
    ("split", "rows", "words"),
    [("test", 8, "at least 10 validation rows with the probability of every label, got 8 rows"), ("validation", 18, "judged on others")],
)
def test_a_temperature_that_cannot_be_fitted_is_said_before_any_model_is_asked(
    project: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch, split: str, rows: int, words: str
) -> None:
    with_objective(project, learner_base, metrics=[{"kind": "ece", "scaling": "temperature"}])
    workspace = Workspace.open(project, (f"split.validation={rows}",))
    stage = workspace.graph.baseline.model_copy(update={"split": split, "prompting": None})
    monkeypatch.setattr("luthier.stages.evaluate.evaluate.load_asker", lambda *args: pytest.fail("a model was asked"))
    with pytest.raises(UserError, match=words):
        workspace.store.build(stage, workspace.project.execution)


def test_one_class_in_the_test_set_is_said_before_any_model_is_asked(project: Path, learner_base: Path) -> None:
    rows = project.parent / "rows.csv"
    lines = rows.read_text().splitlines()
    others = [x for x in lines[1:] if not x.endswith(",card")]
    cards = [x for x in lines[1:] if x.endswith(",card")]
    rows.write_text("\n".join([lines[0], *others, *cards[:10]]) + "\n")
    (project.parent / "test.csv").write_text("\n".join([lines[0], *cards[10:]]) + "\n")
    settings = toy_settings(learner_base)
    settings["data"]["files"] = [{"path": "rows.csv"}, {"path": "test.csv", "split": "test"}]
    settings["objective"]["metrics"] = ["mcc"]
    settings["split"] = {"train": 60, "validation": 18, "seed": 3, "near": None}
    settings["evaluate"] = {"baselines": [{"name": "zero-shot"}]}
    write_settings(project.parent, settings)
    with pytest.raises(UserError, match=r"mcc needs rows of at least two classes, got 30 rows of card"):
        built(project)


def test_what_no_metric_can_score_is_said_before_anything_is_trained(project: Path, learner_base: Path) -> None:
    own = project.parent / "mine.py"
    for body, words in (("1 / 0", "cannot be loaded: ZeroDivisionError"), ("class Other: pass", "must define `Mine`")):
        own.write_text(body)
        workspace = Workspace.open(with_objective(project, learner_base, metrics=["mine.py:Mine"]))
        with pytest.raises(UserError, match=words):
            run(workspace, RunOptions(lambda event: None, lambda: False))
        assert not workspace.store.is_built(workspace.graph.prompting)
    with pytest.raises(UserError, match="metrics must have different names, got accuracy, macro_f1, macro_f1"):
        load_project(with_objective(project, learner_base, metrics=["macro_f1", {"kind": "macro_f1", "normalise": "case"}]))


def test_too_few_test_rows_are_said_with_the_number_that_is_needed() -> None:
    assert list(few_test_rows({"test": 6}, 0.05)) == []
    assert list(few_test_rows({"train": 9, "test": 3}, 0.05)) == [
        "3 test rows: a verdict at alpha 0.05 needs at least 6, so it can only be *not proven*"
    ]
    assert "needs at least 8" in next(few_test_rows({"test": 7}, 0.01))


def test_a_scorer_of_ones_own_that_raises_names_the_row_and_the_reason(project: Path, learner_base: Path) -> None:
    own = "class Mine:\n    def __call__(self, example, output):\n        return 1 / (len(output) * 0)\n"
    (project.parent / "mine.py").write_text(own)
    with pytest.raises(UserError, match=r"must score every row, it raised ZeroDivisionError.*mine.py:Mine on .*rows.csv row \d+"):
        built(with_objective(project, learner_base, metrics=["mine.py:Mine"]))
