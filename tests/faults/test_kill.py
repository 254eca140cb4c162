"""Stopped runs go on to the same bytes: Ctrl-C, and kill -9 at moments spread over the whole run."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from toy_project import luthier, start, write_toy

RUN = Path(".luthier/runs/0001-toy")


def outcome(folder: Path) -> dict[str, Any]:
    """What must be the same however often a run was stopped (times are not; only the finished project watches side effects)."""
    metrics = [json.loads(line) for line in (folder / RUN / "metrics.jsonl").read_text().splitlines()]
    return {
        "adapter": (folder / RUN / "train" / "adapter" / "adapter_model.safetensors").read_bytes(),
        "predictions": (folder / RUN / "predictions.jsonl").read_bytes(),
        "baseline": (folder / RUN / "baseline_predictions.jsonl").read_bytes(),
        "scores": (folder / RUN / "tuned" / "scores.json").read_bytes(),
        "verdict": json.loads((folder / RUN / "report.json").read_text())["verdict"],
        "metrics": [m for m in metrics if m["name"] not in ("seconds_per_step", "nats_above_start")],
    }


@pytest.fixture(scope="module")
def clean(finished_toy: Path) -> dict[str, Any]:
    return outcome(finished_toy)


def kill_once_there_is(folder: Path, pattern: str, *, after_s: float = 0.0, how: int = signal.SIGKILL) -> int:
    """Start a run and send a signal `after_s` seconds after a path matching `pattern` appears; returns the exit code."""
    process = start(folder, "run")
    limit = time.monotonic() + 120
    while not any((folder / ".luthier").glob(pattern)) and process.poll() is None:
        assert time.monotonic() < limit, f"{pattern} never appeared"
        time.sleep(0.005)
    time.sleep(after_s)
    process.send_signal(how)
    return process.wait(timeout=120)


@pytest.mark.parametrize(
    ("pattern", "after_s"),
    [("work/*/scratch/checkpoints/step-000000004", 0.0), ("work/*/scratch/best/step-*", 0.02), ("artifacts/train-*", 0.05)],
    ids=["in training", "at an evaluation", "after training"],
)
def test_kill_9_and_the_same_command_ends_with_the_same_bytes(
    tmp_path: Path, learner_base: Path, clean: dict[str, Any], pattern: str, after_s: float
) -> None:
    write_toy(tmp_path, learner_base)
    assert kill_once_there_is(tmp_path, pattern, after_s=after_s) == -signal.SIGKILL
    again = luthier(tmp_path, "run")
    assert again.returncode == 0, again.stderr
    assert outcome(tmp_path) == clean
    assert not [p for p in (tmp_path / ".luthier" / "work").iterdir() if p.is_dir()]


def test_ctrl_c_saves_says_how_to_go_on_and_goes_on(tmp_path: Path, learner_base: Path, clean: dict[str, Any]) -> None:
    write_toy(tmp_path, learner_base)
    assert kill_once_there_is(tmp_path, "work/*/scratch/checkpoints/step-*", how=signal.SIGINT) == 130
    said = (tmp_path / "out.txt").read_text()
    assert "training is saved at step" in said or "what was trained is saved" in said
    assert "run the same command again to go on from here" in said
    assert "Traceback" not in said
    shown = luthier(tmp_path, "show", "--json")
    assert json.loads(shown.stdout)["runs"][0]["state"] == "stopped"
    again = luthier(tmp_path, "run")
    assert "resumed training at step" in again.stderr
    assert outcome(tmp_path) == clean


def test_ctrl_c_before_training_is_as_safe(tmp_path: Path, learner_base: Path, clean: dict[str, Any]) -> None:
    write_toy(tmp_path, learner_base)
    assert kill_once_there_is(tmp_path, "work/*/scratch", how=signal.SIGTERM) == 130
    assert "run the same command again" in (tmp_path / "out.txt").read_text()
    assert luthier(tmp_path, "run").returncode == 0
    assert outcome(tmp_path) == clean


def test_a_damaged_newest_checkpoint_is_said_and_the_end_is_the_same(tmp_path: Path, learner_base: Path, clean: dict[str, Any]) -> None:
    write_toy(tmp_path, learner_base)
    assert kill_once_there_is(tmp_path, "work/*/scratch/checkpoints/step-000000006") == -signal.SIGKILL
    newest = max((tmp_path / ".luthier" / "work").glob("*/scratch/checkpoints/step-*"))
    victim = newest / "state.safetensors"
    victim.write_bytes(victim.read_bytes()[:-9])
    again = luthier(tmp_path, "run")
    assert again.returncode == 0, again.stderr
    assert "is damaged" in again.stderr
    assert "was not used" in again.stderr
    assert outcome(tmp_path) == clean


def test_a_folder_that_is_moved_in_the_middle_goes_on(tmp_path: Path, learner_base: Path, clean: dict[str, Any]) -> None:
    write_toy(tmp_path / "one", learner_base)
    assert kill_once_there_is(tmp_path / "one", "work/*/scratch/checkpoints/step-000000004") == -signal.SIGKILL
    shutil.move(tmp_path / "one", tmp_path / "two")
    again = luthier(tmp_path / "two", "run")
    assert "resumed training at step" in again.stderr
    assert outcome(tmp_path / "two") == clean
