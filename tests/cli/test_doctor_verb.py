"""`luthier doctor`: which project and model it proves, its exit codes, its document, and what wrong input gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from toy_models import CHATML
from toy_project import write_toy


def call(monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> Any:
    """The verb in this process, in `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner().invoke(app, ["doctor", *args])


def with_template(base: Path, folder: Path, template: str) -> Path:
    """A project on a copy of the base with another chat template."""
    shutil.copytree(base, folder / "base")
    config = folder / "base" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": template}), encoding="utf-8")
    write_toy(folder / "toy", folder / "base")
    return folder / "toy"


@pytest.fixture(scope="module")
def project(finished_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "toy"
    shutil.copytree(finished_toy, folder, symlinks=True)
    return folder


def test_a_project_before_any_run(tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy(tmp_path, learner_base)
    done = call(monkeypatch, tmp_path, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["version"]) == ("doctor", 1)
    proofs = document["project"]
    assert not proofs["trained"]
    assert proofs["model"].startswith("an untrained adapter whose weights were moved by seed 13")
    assert {p["answer"] for p in proofs["proofs"]} == {"holds"}
    assert all(p["hurts"] and p["proven"] and p["figures"] for p in proofs["proofs"])
    for words in ("1/9 masks: holds (", "9/9 exact resume: holds (", "9 of 9 proofs hold", "[[", "this machine"):
        assert words in done.stderr
    assert not list((tmp_path / ".luthier" / "artifacts").glob("train-*"))


def test_the_run_that_is_named_is_the_run_that_is_proven(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = json.loads(call(monkeypatch, project, "--json").stdout)["project"]
    assert own["trained"]
    assert own["model"].startswith("the adapter of this project file (train-")
    changed = json.loads(call(monkeypatch, project, "train.learning_rate=0.02", "--json").stdout)["project"]
    assert not changed["trained"]
    assert changed["model"].endswith("(this project file is not trained yet; runs with a trained model: 1)")
    text = (project / "luthier.yaml").read_text(encoding="utf-8")
    (project / "other.yaml").write_text(text.replace("learning_rate: 0.01", "learning_rate: 0.02"), encoding="utf-8")
    latest = json.loads(call(monkeypatch, project, "-f", "other.yaml", "--run", "latest", "--json").stdout)["project"]
    assert latest["model"].startswith("the adapter of run 1 (toy) (train-")
    assert latest["model"].partition("train-")[2] == own["model"].partition("train-")[2]


def test_a_proof_that_fails_is_an_answer(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.fast.linear import Linear

    monkeypatch.setattr(Linear, "fill", lambda self: self.scratch.copy_(self.rest))
    done = call(monkeypatch, project, "--run", "toy")
    assert done.exit_code == 1, done.stderr
    assert "adapter applied: fails" in done.stderr
    assert "NOT so: " in done.stderr
    assert "WRONG: largest change of a log-probability, nats 0 (at least 1e-06)" in done.stderr
    assert "do not trust a run of this project" in done.stderr


def test_without_a_project_the_machine_alone_is_looked_at(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call(monkeypatch, tmp_path, "--json")
    assert (done.exit_code, json.loads(done.stdout)["project"]) == (0, None)
    assert "no luthier.yaml here" in done.stderr
    machine = call(monkeypatch, project, "--machine", "--json")
    assert (machine.exit_code, json.loads(machine.stdout)["project"]) == (0, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--run", "7"), ["7", "toy"]),
        (("--run", "1", "train.epochs=2"), ["own settings", "train.epochs=2"]),
        (("--machine", "--run", "1"), ["looks at no project", "--run 1"]),
        (("-f", "missing.yaml"), ["missing.yaml"]),
        (("train.epoch=2",), ["epoch", "did you mean `epochs`"]),
    ],
    ids=["no such run", "run with overrides", "machine with a run", "no such file", "unknown setting"],
)
def test_wrong_input(project: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], words: list[str]) -> None:
    done = call(monkeypatch, project, *args)
    assert done.exit_code == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert all(word in done.stderr for word in words), done.stderr


def test_a_run_that_never_trained(tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy(tmp_path, learner_base)
    done = call(monkeypatch, tmp_path, "--run", "latest")
    assert done.exit_code == 2
    assert "a run must have been trained, got none" in done.stderr


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (CHATML.replace("<|im_end|>", ""), "never learns to stop"),
        ("{{ bos_token }}" + CHATML, "one beginning-of-text token"),
    ],
    ids=["without an end of turn", "a doubled beginning"],
)
def test_a_template_that_cannot_be_right_is_wrong_input(
    tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch, template: str, words: str
) -> None:
    done = call(monkeypatch, with_template(learner_base, tmp_path, template))
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
