"""Training in two processes when one of them, or all, are stopped: one message, no orphan, and the run goes on with any number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.core.events import Event, Note
from luthier.core.store import Interrupted
from luthier.pipeline.workspace import Workspace
from toy_project import start, write_toy

TRAIN: dict[str, Any] = {
    "method": {"kind": "lora", "rank": 4},
    "learning_rate": 0.01,
    "steps": 12,
    "batch_size": 8,
    "evaluations": 1,
    "train_sample": 0,
    "precision": "float64",
    "early_stopping": None,
}


@pytest.fixture
def project(tmp_path: Path, learner_base: Path) -> Path:
    write_toy(tmp_path, learner_base, train=TRAIN, execution={"threads": 1, "save_every": 1, "nproc": 2})
    return tmp_path


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, learner_base: Path) -> dict[int, tuple[bytes, list[float]]]:
    """Number of processes -> adapter bytes and losses of a run that nobody disturbed."""
    found = {}
    for nproc in (1, 2):
        folder = tmp_path_factory.mktemp(f"clean{nproc}")
        write_toy(folder, learner_base, train=TRAIN, execution={"threads": 1})
        assert not go_on(folder, nproc)
        found[nproc] = outcome(folder)
    return found


def go_on(folder: Path, nproc: int, stop_flag: Callable[[], bool] = lambda: False) -> str:
    """Train to the end in this process; returns where it resumed, in words."""
    notes: list[Event] = []
    workspace = Workspace.open(folder / "luthier.yaml", (f"execution.nproc={nproc}",))
    workspace.store.build(workspace.graph.train, workspace.project.execution, notes.append, stop_flag)
    return next((e.text for e in notes if isinstance(e, Note) and "resumed" in e.text), "")


def outcome(folder: Path) -> tuple[bytes, list[float]]:
    (train,) = (folder / ".luthier" / "artifacts").glob("train-*")
    metrics = [json.loads(line) for line in (train / "metrics.jsonl").read_text().splitlines()]
    return (train / "adapter" / "adapter_model.safetensors").read_bytes(), [m["value"] for m in metrics if m["name"] == "loss"]


def begin(folder: Path, step: int) -> tuple[subprocess.Popen[str], list[int]]:
    """Start training and wait for a checkpoint of `step`; returns the process and the ids of those that it started."""
    process = start(folder, "train")
    limit = time.monotonic() + 180
    while not any((folder / ".luthier").glob(f"work/*/scratch/checkpoints/step-{step:09d}")):
        assert process.poll() is None, (folder / "out.txt").read_text()
        assert time.monotonic() < limit
        time.sleep(0.002)
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return process, [int(pid) for pid in listed]


def gone(pid: int, within_s: float = 10.0) -> bool:
    limit = time.monotonic() + within_s
    while time.monotonic() < limit:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_the_loss_of_two_processes_is_that_of_one(wanted: dict[int, tuple[bytes, list[float]]]) -> None:
    assert len(wanted[1][1]) == TRAIN["steps"] + 2
    assert wanted[2][1] == pytest.approx(wanted[1][1], rel=1e-9)


def test_a_lost_process_stops_the_run_with_one_message_and_one_process_ends_it(
    project: Path, wanted: dict[int, tuple[bytes, list[float]]]
) -> None:
    process, (other,) = begin(project, 3)
    os.kill(other, signal.SIGKILL)
    assert process.wait(timeout=60) == 3
    said = (project / "out.txt").read_text()
    assert "error: process 2 of 2 has ended (killed by SIGKILL" in said
    assert "run the same command again to go on from the last saved point, with any --nproc" in said
    assert said.count("error:") == 1
    assert "Traceback" not in said
    assert go_on(project, 1).startswith("resumed training at step")
    assert outcome(project)[1] == pytest.approx(wanted[1][1], rel=1e-9)


def test_kill_9_of_the_first_process_leaves_no_orphan_and_two_processes_end_with_the_same_bytes(
    project: Path, wanted: dict[int, tuple[bytes, list[float]]]
) -> None:
    process, others = begin(project, 5)
    assert len(others) == 1
    process.kill()
    process.wait()
    assert gone(others[0])
    assert "resumed training at step" in go_on(project, 2)
    assert outcome(project) == wanted[2]


def test_what_one_process_began_two_go_on_with_and_ctrl_c_saves(project: Path, wanted: dict[int, tuple[bytes, list[float]]]) -> None:
    """SIGINT and SIGTERM reach both processes of the second attempt."""
    with pytest.raises(Interrupted):
        go_on(project, 1, lambda: any((project / ".luthier").glob("work/*/scratch/checkpoints/step-*3")))
    process, (other,) = begin(project, 6)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(other, number)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    said = (project / "out.txt").read_text()
    assert "run the same command again to go on from here" in said
    assert "error: stopped: training is saved at step" in said
    assert gone(other)
    assert "resumed training at step" in go_on(project, 1)
    assert outcome(project)[1] == pytest.approx(wanted[1][1], rel=1e-9)


def test_the_number_of_processes_is_not_in_the_key(project: Path) -> None:
    one, two = (Workspace.open(project / "luthier.yaml", (f"execution.nproc={n}",)) for n in (1, 2))
    assert one.graph.verdict.key() == two.graph.verdict.key()
