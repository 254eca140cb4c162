"""What a project says about generated answers reaches them, and answers that were cut at the limit are counted and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.core.artifacts import Predictions
from luthier.core.events import Event, Note
from luthier.core.stage import Built
from luthier.pipeline.project import load_project
from luthier.pipeline.workspace import Workspace
from toy_project import toy_settings, write_settings, write_toy

SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture
def project(tmp_path: Path, learner_base: Path) -> Path:
    return write_toy(tmp_path / "toy", learner_base)


def answers(file: Path, decoding: dict[str, Any]) -> tuple[Built[Predictions], list[dict[str, Any]], list[str]]:
    """The base's answers to the sealed rows, their lines of predictions.jsonl, and the warnings."""
    settings = toy_settings(Path(load_project(file).base))
    settings["evaluate"] = {"baselines": [{"name": "zero-shot"}], "decoding": {"kind": "text", **decoding}}
    write_settings(file.parent, settings)
    events: list[Event] = []
    workspace = Workspace.open(file, ())
    built = workspace.store.build(workspace.graph.baseline, workspace.project.execution, events.append)
    rows = [json.loads(line) for line in (built.path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    return built, rows, [e.text for e in events if isinstance(e, Note) and e.level == "warning"]


def test_answers_without_their_stop_string_are_counted_and_said(project: Path) -> None:
    built, rows, warnings = answers(project, {"max_new_tokens": 3, "stop": "@@@"})
    cut = sum(r["finish"] == "length" for r in rows)
    assert cut > 0
    assert built.result.num_cut == cut
    assert any(
        w.startswith(f"{cut} of 42 answers to test rows reached the limit of 3 tokens") and "without a stop string" in w for w in warnings
    )


def test_a_schema_read_from_a_file_holds_for_every_finished_answer(project: Path) -> None:
    (project.parent / "answer.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    built, rows, _ = answers(project, {"max_new_tokens": 120, "json_schema": "answer.json"})
    finished = [json.loads(r["output"]) for r in rows if r["finish"] == "stop"]
    assert len(finished) == 42 - built.result.num_cut
    assert finished
    assert all(value in ({"a": 1}, {"a": 2}) for value in finished)


def test_the_words_of_a_schema_are_the_setting_and_not_its_path(project: Path) -> None:
    settings = toy_settings(Path(load_project(project).base))
    keys = []
    for name, schema in (("one.json", SCHEMA), ("two.json", SCHEMA), ("two.json", {"type": "null"})):
        (project.parent / name).write_text(json.dumps(schema), encoding="utf-8")
        settings["evaluate"] = {"decoding": {"kind": "text", "json_schema": name}}
        write_settings(project.parent, settings)
        keys.append(Workspace.open(project, ()).graph.baseline.key())
    assert keys[0] == keys[1] != keys[2]
