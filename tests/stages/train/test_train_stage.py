"""The train stage on the toy project: best checkpoint, early stopping, what is watched, and losses that are not finite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from luthier.core.artifacts import Checkpoint
from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.events import Event, Metric, Note
from luthier.core.stage import Built
from luthier.core.store import Interrupted
from luthier.engine.adapted import Adapted
from luthier.engine.checkpoint.folder import load_newest, save_checkpoint
from luthier.pipeline.workspace import Workspace
from luthier.stages.train.loop import BEST, CHECKPOINTS
from luthier.stages.train.train import BEGUN
from toy_project import write_toy

FLAT = "train.schedule={kind: constant}"
OVERFLOW = ("train.learning_rate=1", FLAT, "train.evaluations=1", "train.method={kind: lora, rank: 8, alpha: 1e18}")
"""One step leaves weights that are finite and whose products are not."""


@pytest.fixture
def project(tmp_path: Path, learner_base: Path) -> Path:
    return write_toy(tmp_path / "toy", learner_base)


def train(file: Path, *overrides: str, events: list[Event] | None = None) -> Built[Checkpoint]:
    workspace = Workspace.open(file, overrides)
    return workspace.store.build(workspace.graph.train, workspace.project.execution, (events if events is not None else []).append)


def adapter(built: Built[Checkpoint]) -> bytes:
    return (built.path / "adapter" / "adapter_model.safetensors").read_bytes()


def curve(built: Built[Checkpoint], split: str, name: str) -> dict[int, float]:
    rows = [json.loads(line) for line in (built.path / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: r["value"] for r in rows if (r["split"], r["name"]) == (split, name)}


def stop_after(file: Path, step: int, *overrides: str) -> None:
    """Train, and ask for a stop (as Ctrl-C does) once `step` has been made."""
    workspace, seen = Workspace.open(file, overrides), [0]

    def watch(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss":
            seen[0] = event.step

    with pytest.raises(Interrupted, match=f"training is saved at step {step} of"):
        workspace.store.build(workspace.graph.train, workspace.project.execution, watch, lambda: seen[0] >= step)


def work_of(file: Path, *overrides: str) -> Path:
    workspace = Workspace.open(file, overrides)
    return workspace.store.work / workspace.graph.train.key()[:12]


def test_the_saved_adapter_is_the_state_at_the_best_step(project: Path) -> None:
    wild = (FLAT, "train.learning_rate=0.05", "train.early_stopping=null")
    whole = train(project, *wild, "train.evaluations=8")
    best, losses, right = whole.result.best_step, curve(whole, "validation", "loss"), curve(whole, "validation", "accuracy")
    assert best == min((s for s in right), key=lambda s: (-right[s], losses[s]))
    assert best < 32
    shorter = train(project, *wild, "train.epochs=null", f"train.steps={best}", "train.evaluations=1")
    assert adapter(shorter) == adapter(whole)
    last = train(project, *wild, "train.evaluations=1")
    assert adapter(last) != adapter(whole)


@pytest.mark.parametrize("watch", ["metric", "loss"])
def test_what_is_watched_picks_the_best_step(project: Path, watch: str) -> None:
    built = train(project, f"train.watch={watch}", "train.evaluations=8", "train.early_stopping=null", "train.learning_rate=0.03", FLAT)
    right, losses = curve(built, "validation", "accuracy"), curve(built, "validation", "loss")
    del losses[0]
    wanted = min(losses, key=lambda s: losses[s]) if watch == "loss" else min(right, key=lambda s: (-right[s], losses[s]))
    assert built.result.best_step == wanted


def test_early_stopping_counts_evaluations_without_enough_gain(project: Path) -> None:
    patient = ("train.watch=loss", "train.evaluations=8", "train.early_stopping={patience: 2, min_delta: 1000}")
    built = train(project, *patient)
    assert built.result.steps == 12
    losses = curve(built, "validation", "loss")
    assert sorted(losses) == [0, 4, 8, 12]
    best = min((4, 8, 12), key=lambda s: losses[s])
    assert built.result.stopped == f"early: validation/loss has not improved for 2 evaluations (best at step {best})"


def test_without_early_stopping_a_run_goes_to_its_end(project: Path) -> None:
    built = train(project, "train.early_stopping=null", "train.evaluations=8", "train.learning_rate=1e-9")
    assert (built.result.steps, built.result.stopped) == (32, "done: 32 of 32 steps")


def test_the_metric_during_training_is_that_of_the_final_evaluation(project: Path) -> None:
    workspace = Workspace.open(project)
    built = train(project)
    stage = workspace.graph.tuned.model_copy(update={"split": "validation"})
    final = workspace.store.build(stage, workspace.project.execution).result.scores["accuracy"]["value"]
    assert curve(built, "validation", "accuracy")[built.result.best_step] == final == built.result.best["validation/accuracy"]


def test_the_training_sample_is_drawn_from_all_classes(project: Path) -> None:
    from luthier.core.rows import read_split
    from luthier.stages.train.recipe import Recipe
    from luthier.stages.train.train import _sample

    workspace = Workspace.open(project)
    rows = read_split(workspace.store.build(workspace.graph.split, workspace.project.execution), "train")
    sample = _sample(rows, Recipe(train_sample=12))
    assert len(sample) == 12
    assert {row.label for row in sample} == {"card", "rate", "cash"}
    assert _sample(rows, Recipe(train_sample=1000)) == tuple(rows)


def samples(built: Built[Checkpoint]) -> list[dict[str, object]]:
    return [json.loads(line) for line in (built.path / "samples.jsonl").read_text().splitlines()]


def test_the_same_rows_are_answered_before_training_and_at_each_evaluation(project: Path) -> None:
    found = samples(train(project, "train.samples=3"))
    assert [s["step"] for s in found] == [0] * 3 + [16] * 3 + [32] * 3
    assert len({s["key"] for s in found}) == 3
    assert all(s["answer"] in ("card", "rate", "cash") and str(s["prompt"]).split()[-1] in ("stolen", "wrong", "late") for s in found)
    assert [s["reference"] for s in found[-3:]] == [s["answer"] for s in found[-3:]]
    assert not (train(project, "train.samples=0").path / "samples.jsonl").exists()


def test_a_stop_neither_repeats_nor_loses_a_sample_or_a_diagnosis(project: Path, tmp_path: Path) -> None:
    settings = ("train.epochs=2", "train.evaluations=4", "train.learning_rate=1e-6")
    whole = samples(train(write_toy(tmp_path / "whole", Path(Workspace.open(project).project.base)), *settings))
    stop_after(project, 10, *settings)
    events: list[Event] = []
    assert samples(train(project, *settings, events=events)) == whole
    assert not [e for e in events if isinstance(e, Note) and ", seen at step " in e.text], "said before the stop"


def test_a_loss_that_is_not_finite_stops_with_step_and_rows_and_keeps_the_checkpoint(project: Path) -> None:
    explode = (
        "train.learning_rate=1",
        FLAT,
        "train.optimizer={clip_norm: null, eps: 1e-30}",
        "train.method={kind: lora, rank: 8, alpha: 1e30}",
    )
    events: list[Event] = []
    with pytest.raises(UserError, match="training must stay finite") as err:
        train(project, *explode, "train.epochs=1", "execution.save_every=1", events=events)
    text = str(err.value)
    assert "step " in text
    assert "rows " in text
    assert "lower train.learning_rate" in text
    assert not Workspace.open(project, explode).store.is_built(Workspace.open(project, explode).graph.train)


def test_the_step_after_an_overflow_stops_and_the_checkpoint_before_it_is_whole(project: Path) -> None:
    settings = (*OVERFLOW, "train.epochs=1", "execution.save_every=1")
    with pytest.raises(UserError, match=r"must stay finite: .* is not finite.*step 2, rows"):
        train(project, *settings)
    kept = load_newest(work_of(project, *settings) / CHECKPOINTS)
    assert kept is not None
    assert kept.step == 1
    assert all(torch.isfinite(value).all() for value in kept.state.values() if isinstance(value, torch.Tensor))


def test_weights_that_are_lost_at_the_last_step_are_not_saved_as_the_best(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No further step would find out: the evaluation does, and says at which step."""
    step = Adapted.optim_step

    def spoiling(engine: Adapted, learning_rate: float) -> float:
        norm, state = step(engine, learning_rate), engine.state()
        engine.load_state({k: v * float("nan") if k.startswith("adapter.") and "lora_B" in k else v for k, v in state.items()})
        return norm

    monkeypatch.setattr(Adapted, "optim_step", spoiling)
    one_step = ("train.epochs=null", "train.steps=1", "train.evaluations=1")
    with pytest.raises(UserError, match=r"must stay finite.*evaluation at step 1\); the last good checkpoint is kept; lower train"):
        train(project, *one_step)
    workspace = Workspace.open(project, one_step)
    assert not workspace.store.is_built(workspace.graph.train)
    assert load_newest(work_of(project, *one_step) / BEST) is None


def test_poisoned_weights_name_the_step_and_the_rows(project: Path, learner_base: Path, tmp_path: Path) -> None:
    settings = ("train.epochs=1", "execution.save_every=1", "train.evaluations=1")
    stop_after(project, 4, *settings)
    folder = work_of(project, *settings) / CHECKPOINTS
    found = load_newest(folder)
    assert found is not None
    poisoned = {k: v * float("nan") if k.startswith("adapter.") and "lora_B" in k else v for k, v in found.state.items()}
    save_checkpoint(folder, found.step, poisoned)
    with pytest.raises(UserError, match=f"step {found.step + 1}, rows [0-9a-f]{{16}}") as err:
        train(project, *settings)
    assert "training must stay finite" in str(err.value)
    kept = load_newest(folder)
    assert kept is not None
    assert kept.step == found.step


def test_a_best_checkpoint_that_is_gone_is_said_and_mended_as_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    clean = adapter(train(project))
    workspace = Workspace.open(project)
    shutil.rmtree(workspace.store.folder_of(workspace.graph.train))
    monkeypatch.setattr("luthier.core.record.write_record", lambda folder, body: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(project)
    monkeypatch.undo()
    work = work_of(project)
    shutil.rmtree(work / BEST)
    with pytest.raises(CorruptArtifact, match=r"best checkpoint .* is gone .* delete that folder"):
        train(project)
    shutil.rmtree(work)
    assert adapter(train(project)) == clean


def test_a_damaged_newest_checkpoint_is_not_used_and_that_is_said(project: Path, tmp_path: Path) -> None:
    clean = adapter(train(write_toy(tmp_path / "clean", Path(Workspace.open(project).project.base))))
    settings = ("execution.save_every=2",)
    stop_after(project, 7, *settings)
    checkpoints = sorted((work_of(project) / CHECKPOINTS).glob("step-*"))
    assert len(checkpoints) == 2
    victim = checkpoints[-1] / "state.safetensors"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    events: list[Event] = []
    built = train(project, *settings, events=events)
    said = [e.text for e in events if isinstance(e, Note)]
    assert any("is damaged" in text and "was not used" in text for text in said)
    assert adapter(built) == clean


def test_a_resume_keeps_the_micro_batch_it_began_with(project: Path) -> None:
    stop_after(project, 2)
    begun = work_of(project) / BEGUN
    assert json.loads(begun.read_text()) == {"micro_batch_tokens": 4096}
    begun.write_text(json.dumps({"micro_batch_tokens": 128}))
    assert train(project).result.micro_batch_tokens == 128
