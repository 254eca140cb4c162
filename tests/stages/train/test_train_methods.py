"""Every tuning method through the train stage of the toy project: trained, recorded, loaded again, resumed, planned and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.core.artifacts import Checkpoint
from luthier.core.errors import UserError
from luthier.core.events import Event, Metric, Note
from luthier.core.stage import Built
from luthier.core.store import Interrupted
from luthier.parts.methods.loading import known_methods
from luthier.pipeline.export import ExportOptions, export
from luthier.pipeline.workspace import Workspace
from luthier.stages.evaluate.model import load_predictor
from toy_project import write_toy

SMALL = {"rank": 4, "size": 4, "tokens": 4, "layers": 1, "create": True}
SHORT = ("train.epochs=null", "train.steps=2", "train.evaluations=1", "train.train_sample=0", "split.validation=6")


@pytest.fixture
def project(tmp_path: Path, learner_base: Path) -> Path:
    return write_toy(tmp_path / "toy", learner_base)


def setting(kind: str) -> str:
    fields = {n: v for n, v in SMALL.items() if n in known_methods()[kind].model_fields}
    return f"train.method={{{', '.join(f'{k}: {str(v).lower()}' for k, v in {'kind': kind, **fields}.items())}}}"


def train(file: Path, *overrides: str, observe: Any = None, stop: Any = None) -> tuple[Workspace, Built[Checkpoint]]:
    workspace = Workspace.open(file, (*SHORT, *overrides))
    done = workspace.store.build(
        workspace.graph.train, workspace.project.execution, observe or (lambda event: None), *([stop] if stop else [])
    )
    return workspace, done


@pytest.mark.parametrize("kind", sorted(known_methods()))
def test_a_run_with_the_method_is_recorded_and_answers(project: Path, kind: str) -> None:
    events: list[Event] = []
    workspace, done = train(project, setting(kind), observe=events.append)
    assert done.result.method["kind"] == kind
    assert done.result.num_trainable > 0
    losses = [e.value for e in events if isinstance(e, Metric) and (e.split, e.name) == ("train", "loss")]
    assert len(losses) == 2
    said = [e.text for e in events if isinstance(e, Note) and "refused" in e.text]
    assert (done.result.engine != "fast") == bool(said)
    assert all(kind in text for text in said)
    predictor = load_predictor(done, workspace.project.execution, workspace.project.decoding(), ("card", "rate", "cash"))
    answers = predictor.predict([predictor_prompt("my card is stolen"), predictor_prompt("the rate is wrong")])
    assert {a.text for a in answers} <= {"card", "rate", "cash"}


def predictor_prompt(text: str) -> Any:
    from luthier.core.records import Message

    return (Message("user", text),)


@pytest.mark.parametrize("kind", ["dora", "prefix"])
def test_a_stopped_run_ends_with_the_same_bytes(project: Path, tmp_path: Path, learner_base: Path, kind: str) -> None:
    _, whole = train(project, setting(kind))
    other, seen = write_toy(tmp_path / "other", learner_base), [0]

    def watch(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.split == "train":
            seen[0] = event.step

    with pytest.raises(Interrupted):
        train(other, setting(kind), observe=watch, stop=lambda: seen[0] >= 1)
    _, again = train(other, setting(kind))
    file = Path("adapter") / "adapter_model.safetensors"
    assert (again.path / file).read_bytes() == (whole.path / file).read_bytes()


def test_what_frozen_layers_give_is_kept_between_epochs_and_it_is_said(tmp_path: Path, learner_base: Path) -> None:
    two_epochs = (setting("last_layers"), "split.train=10", "train.batch_size=1", "train.steps=20")
    found: dict[str, tuple[list[str], list[float]]] = {}
    for cache in ("4", "0"):
        events: list[Event] = []
        train(write_toy(tmp_path / cache, learner_base), *two_epochs, f"execution.cache_gb={cache}", observe=events.append)
        notes = [e.text for e in events if isinstance(e, Note) and "frozen layers" in e.text]
        found[cache] = notes, [e.value for e in events if isinstance(e, Metric) and (e.split, e.name) == ("train", "loss")]
        assert not list((tmp_path / cache).rglob("activations"))  # gone with the scratch of the build
    words = "what the 1 frozen layers below give is"
    assert found["4"][0] == [f"{words} kept on disk between epochs (at most 4 GB, execution.cache_gb)"]
    assert found["0"][0] == [f"{words} not kept between epochs: execution.cache_gb is 0"]
    assert len(found["4"][1]) == 20
    assert found["4"][1] == pytest.approx(found["0"][1], rel=1e-4)


def test_the_plan_predicts_nothing_for_a_method_without_a_model(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    done = CliRunner().invoke(app, ["plan", setting("prompt"), "--json"])
    assert done.exit_code == 0, done.stderr
    assert "no memory model for the method prompt" in done.stderr
    assert '"estimate": null' in done.stdout
    for engine in ("generic", "reference"):
        other = CliRunner().invoke(app, ["plan", f"execution.engine={engine}", "--json"])
        assert f"there is no memory model for the {engine} engine: time and memory are not predicted" in other.stderr
        assert '"estimate": null' in other.stdout


def test_what_merges_is_exported_and_what_does_not_says_why(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    settings = yaml.safe_load(project.read_text())
    for kind, to, words in (
        ("full", "merged", ""),
        ("full", "peft", "a method that PEFT has"),
        ("qlora", "peft", ""),
        ("prompt", "merged", "it adds tokens, not weights"),
        ("bottleneck", "merged", "its layers are not linear"),
    ):
        _, done = train(project, setting(kind))
        folder = done.path / "adapter"
        options = ExportOptions(to, out=Path(f"{kind}-{to}"), force=True)  # type: ignore[arg-type]
        if words:
            with pytest.raises(UserError, match=words):
                export(str(folder), project, options, lambda event: None)
            continue
        record = export(str(folder), project, options, lambda event: None).record
        assert record["measured"]["tokens"] > 0
        assert ("luthier_method.json" in record["files"]) == (kind == "qlora")
    assert settings["train"]["method"]["kind"] == "lora"
