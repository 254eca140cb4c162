"""Several labels at once, numbers and pairs of texts on an encoder, from a file to a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.core.errors import UserError
from luthier.core.events import ignore
from luthier.pipeline.run import RunOptions, run
from luthier.pipeline.workspace import Workspace
from toy_encoders import make_toy_encoder
from toy_project import FILLERS, toy_settings, write_rows, write_settings

OPTIONS = RunOptions(ignore, lambda: False)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_encoder(tmp_path_factory.mktemp("base") / "toy-bert")


def _texts(n: int = 120) -> list[str]:
    return [f"{FILLERS[i % 10]} {FILLERS[i // 10 % 10]} {FILLERS[i * 7 % 10]}" for i in range(n)]


def _several(i: int, text: str) -> dict[str, Any]:
    words = [w for w, on in (("stolen", i % 2), ("late", i % 3 == 0)) if on]
    return {"text": " ".join([text, *words]), "labels": ["theft" if w == "stolen" else "delay" for w in words]}


def _number(i: int, text: str) -> dict[str, Any]:
    return {"text": " ".join([text, *["red"] * (i % 4)]), "score": i % 4}


def _pair(i: int, text: str) -> dict[str, Any]:
    first, second = ("red", "blue")[i % 2], ("red", "blue")[i // 2 % 2]
    return {"text": f"{text} {first}", "other": f"{second} {FILLERS[i % 7]}", "label": f"{first}-{second}"}


TASKS = {
    "multi_label": (_several, {"kind": "multi_label"}, {"task": "multi_label", "goal": "Name the faults.", "metrics": ["exact_match"]}),
    "regression": (_number, {"kind": "regression"}, {"task": "regression", "goal": "Rate it.", "metrics": ["spearman", "mse"]}),
    "pair": (_pair, {"kind": "classification", "pair": "other"}, {"task": "classify", "goal": "Compare them."}),
}


def _workspace(folder: Path, encoder: Path, task: str) -> Workspace:
    row, mapping, objective = TASKS[task]
    write_rows(folder, [row(i, text) for i, text in enumerate(_texts())])
    settings = toy_settings(encoder, objective=objective, data={"files": ["rows.jsonl"], "mapping": mapping}, prepare={})
    settings["train"] |= {"learning_rate": 0.005, "epochs": 6}
    del settings["evaluate"]
    return Workspace.open(write_settings(folder, settings))


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_task_is_learnt_and_judged(task: str, tmp_path: Path, encoder: Path) -> None:
    outcome = run(_workspace(tmp_path / task, encoder, task), OPTIONS)
    verdict = outcome.report.verdict
    assert verdict.num_rows == 42
    assert verdict.metric == {"multi_label": "multi_label_f1", "regression": "pearson", "pair": "accuracy"}[task]
    assert verdict.tuned >= 0.8
    rows = [json.loads(line) for line in (outcome.folder / "predictions.jsonl").read_text().splitlines()]
    if task == "multi_label":
        assert all(len(r["label_probabilities"]) == 2 for r in rows)
        assert {label for r in rows for label in json.loads(r["output"])} <= {"theft", "delay"}
    elif task == "regression":
        assert all(-2 < float(r["output"]) < 6 for r in rows)
    else:
        assert all([m["role"] for m in r["prompt"]] == ["user", "user"] for r in rows)


def test_a_file_without_a_single_number_says_which_value_was_wrong(tmp_path: Path, encoder: Path) -> None:
    workspace = _workspace(tmp_path / "toy", encoder, "regression")
    write_rows(tmp_path / "toy", [{"text": t, "score": "high"} for t in _texts(5)])
    with pytest.raises(UserError, match="a data file must hold usable rows, got none kept: score is not a number: 'high'"):
        run(workspace, OPTIONS)


def test_a_metric_where_less_is_better_decides_nothing(tmp_path: Path, encoder: Path) -> None:
    write_rows(tmp_path, [{"text": "a", "score": 1}])
    objective = {"task": "regression", "goal": "Rate it.", "metric": "mse"}
    settings = toy_settings(encoder, objective=objective, data={"files": ["rows.jsonl"], "mapping": {"kind": "regression"}})
    with pytest.raises(UserError, match="the deciding metric must be one where higher is better: list mse under `metrics`"):
        Workspace.open(write_settings(tmp_path, settings))


def test_a_pair_and_a_template_exclude_each_other(tmp_path: Path, encoder: Path) -> None:
    workspace = _workspace(tmp_path / "toy", encoder, "pair")
    settings = toy_settings(encoder)
    settings["data"] = {"files": ["rows.jsonl"], "mapping": TASKS["pair"][1], "prompt": {"user": "{text} {other}"}}
    workspace = Workspace.open(write_settings(tmp_path / "toy", settings))
    with pytest.raises(UserError, match="a prompt template and a pair of texts exclude each other"):
        run(workspace, OPTIONS)
