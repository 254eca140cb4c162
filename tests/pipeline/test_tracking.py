"""A run's trackers: every number arrives once, whatever happens in between, and nothing that a tracker does stops or slows the run."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from luthier.core.errors import Interrupted, MachineError
from luthier.core.events import Event, Metric, Note, ignore
from luthier.pipeline import tracking
from luthier.pipeline.run import RunOptions, run, train_only
from luthier.pipeline.workspace import Workspace
from luthier.report.files import read_report

pytest.importorskip("tensorboard")
SHORT = ("train.epochs=0.5", "execution.save_every=1", "name=short", "track=tensorboard")


@pytest.fixture
def project(finished_toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_toy, tmp_path / "toy", symlinks=True))


def opened(folder: Path, *overrides: str) -> Workspace:
    return Workspace.open(folder / "luthier.yaml", overrides)


def scalars(folder: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    """The curves of a run as TensorBoard's own reader has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / ".luthier/tensorboard" / name))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def measured(file: Path) -> dict[str, list[tuple[int, Any]]]:
    out: dict[str, list[tuple[int, Any]]] = {}
    for line in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        out.setdefault(f"{line['split']}/{line['name']}", []).append((line["step"], pytest.approx(line["value"], rel=1e-6)))
    return out


def options(events: list[Event] | None = None, stop_after: int | None = None) -> RunOptions:
    seen = [] if events is None else events
    steps = lambda: len({e.step for e in seen if isinstance(e, Metric) and e.split == "train"})  # noqa: E731
    return RunOptions(seen.append, lambda: stop_after is not None and steps() >= stop_after, reason="a test")


def test_a_finished_run_is_given_to_a_tracker_that_is_named_later(project: Path) -> None:
    done = run(opened(project, "track=[tensorboard]"), options())
    assert (done.number, done.cached) == (1, True)  # the tracker is no part of the run's key
    found = scalars(project, "0001-toy")
    curves = measured(done.folder / "metrics.jsonl")
    assert {name: found[name] for name in curves} == curves
    v = read_report(done.folder / "report.json").verdict
    ends = {"effect": v.effect, "low": v.interval[0], "high": v.interval[1], "p": v.p}
    assert {name: found[f"verdict/{name}"] for name in ends} == {n: [(32, pytest.approx(x))] for n, x in ends.items()}
    assert found["test/accuracy/low"][0][1] < found["test/accuracy"][0][1] + 1e-9
    files = list((project / ".luthier/tensorboard/0001-toy").iterdir())
    run(opened(project, "track=[tensorboard]"), options())
    assert list((project / ".luthier/tensorboard/0001-toy").iterdir()) == files  # told already: nothing is sent again


def test_a_run_that_is_stopped_and_goes_on_has_every_step_once(project: Path) -> None:
    with pytest.raises(Interrupted):
        run(opened(project, *SHORT), options(stop_after=2))
    done = run(opened(project, *SHORT), options())
    curves = measured(done.folder / "metrics.jsonl")
    found = scalars(project, "0002-short")
    for name in ("train/loss", "train/learning_rate", "train/gradient_norm", "validation/accuracy", "validation/loss"):
        assert found[name] == curves[name], name
    assert len(found["train/loss"]) == 4


def test_training_alone_is_tracked_by_its_key(project: Path) -> None:
    workspace = opened(project, "train.epochs=0.25", "track=tensorboard")
    built = train_only(workspace, options())
    assert scalars(project, f"train-{built.key[:12]}") == measured(built.path / "metrics.jsonl")


def test_a_server_that_never_answers_costs_nothing_and_is_said_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "CLOSE_S", 0.5)
    events: list[Event] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        workspace = opened(project, f"track={{kind: mlflow, uri: 'http://127.0.0.1:{server.getsockname()[1]}'}}")
        with tracking.tracked(workspace, "0001-toy", project / ".luthier/runs/0001-toy", events.append) as tracked:
            began = time.process_time()
            for step in range(5000):
                tracked.observer(Metric(step, "train", "loss", 1.0))
            assert time.process_time() - began < 2.0  # of giving, whatever the tracker's process does
    notes = [e for e in events if isinstance(e, Note)]
    assert [n.level for n in notes] == ["warning"]
    assert "the tracker mlflow was given up: not everything was sent within" in notes[0].text
    assert sum(isinstance(e, Metric) for e in events) == 5000
    assert tracking.unsent(workspace, project / ".luthier/runs/0001-toy")


def test_a_server_that_is_down_is_given_up_and_the_run_is_done(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="pip install 'luthier[trackers]'")
    monkeypatch.setattr(tracking, "BUDGET_S", 0.5)
    monkeypatch.setattr(tracking, "CLOSE_S", 120.0)  # of a busy machine; the library takes seconds to load
    events: list[Event] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = run(opened(project, f"track={{kind: mlflow, uri: 'http://127.0.0.1:{port}'}}"), options(events))
    assert done.report.verdict.decision == "better"
    notes = [e.text for e in events if isinstance(e, Note)]
    assert len(notes) == 1
    assert "the tracker mlflow was given up: MlflowException" in notes[0]


def test_a_tracker_whose_process_dies_is_said_and_one_that_works_says_where(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def notes(folder: str) -> list[str]:
        events: list[Event] = []
        workspace = opened(project, "track=tensorboard")
        with tracking.tracked(workspace, folder, project / folder, events.append) as tracked:
            tracked.observer(Metric(1, "train", "loss", 1.0))
        return [e.text for e in events if isinstance(e, Note)]

    assert [n.partition(" --logdir ")[0] for n in notes("works")] == ["tensorboard: tensorboard"]
    monkeypatch.setattr(tracking, "CHILD", "luthier.no_such_module")
    assert "the tracker tensorboard was given up: its process ended with exit code 1" in notes("dies")[0]


def test_a_tracker_without_its_library_stops_before_anything_is_built(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else real(name, *a))
    with pytest.raises(MachineError, match="the tracker needs wandb"):
        train_only(opened(project, "train.epochs=0.1", "track=wandb"), options())
    assert not (project / ".luthier/tracking").exists()


def test_without_trackers_nothing_is_started(project: Path) -> None:
    workspace = opened(project)
    with tracking.tracked(workspace, "x", project / "nowhere", ignore) as tracked:
        tracked.observer(Metric(1, "train", "loss", 1.0))
    assert tracked.fed == []
    assert not (project / "nowhere").exists()
