"""A sample of the faults at every file operation; `reliability/crash.py` carries out all of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from acts import chain
from nursery import Fault, Nursery
from trials import NEEDS_SPACE, PASS, PEOPLE_ONLY, STORE, Bench, crash, make_bench, refuse

from luthier.core.execution import Execution
from luthier.core.record import hash_files
from luthier.core.stage import topological
from luthier.core.store import Store

LENGTH = 12
DISK_FULL = ("disk full while", "bytes are needed", "are free", "run the same command again")


@pytest.fixture(scope="module")
def bench(nursery: Nursery, learner_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(nursery, learner_base, tmp_path_factory.mktemp("bench"))


def test_a_kill_at_an_operation_loses_nothing(nursery: Nursery, bench: Bench, tmp_path: Path) -> None:
    saves = [i + 1 for i, (_, name) in enumerate(bench.operations) if "step-" in name or name in ("state.safetensors", "COMMITTED")]
    points = [("kill", at) for at in saves[2::9]] + [("tear", at) for at in saves if bench.operations[at - 1][0] == "write"][1::5]
    points += [("kill", at) for at in range(3, len(bench.operations), 70)]
    assert len(points) >= 12
    seen = [crash(nursery, bench, tmp_path / "toy", mode, at) for mode, at in points]
    assert [trial for trial in seen if trial["verdict"] != PASS] == []


def test_a_disk_that_fills_up_is_one_message_and_loses_nothing(nursery: Nursery, bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "toy" / STORE
    for at in (1, 9, 40, 90):
        fault = Fault(str(root), "refuse from", at, errno.ENOSPC, PEOPLE_ONLY, NEEDS_SPACE)
        trial = refuse(
            nursery, bench, tmp_path / "toy", fault, ("disk full while", "bytes are needed", "are free", "run the same command again")
        )
        assert (trial["exit_code"], trial["faults"]) == (3, []), trial


def test_a_flush_that_fails_is_one_message_and_loses_nothing(nursery: Nursery, bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "toy" / STORE
    for at in (3, 12, 24, 50):
        fault = Fault(str(root), "refuse", at, errno.EIO, PEOPLE_ONLY, ("fsync",))
        trial = refuse(nursery, bench, tmp_path / "toy", fault, ("the disk failed", "check the disk"))
        assert (trial["exit_code"], trial["faults"]) == (3, []), trial


def inodes(root: Path) -> dict[str, tuple[int, int]]:
    """The finished artifacts: a record that was written again would have another inode or time."""
    return {p.parent.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (root / "artifacts").glob("*/record.json")}


def test_twelve_steps_killed_at_every_operation_are_each_done_once(nursery: Nursery, tmp_path: Path) -> None:
    """Every boundary and every middle: whatever was finished before a kill is not carried out again."""
    clean, root = tmp_path / "clean", tmp_path / "killed"
    clean.mkdir()
    root.mkdir()
    stages = topological(chain(LENGTH))
    whole = nursery.run(tmp_path, ("do", "build", str(clean), str(LENGTH)), Fault(str(clean)))
    assert whole.code == 0, whole.said
    wanted = {s.key(): hash_files(Store(clean).folder_of(s)) for s in stages}
    assert whole.counted > 12 * LENGTH
    for at in range(1, whole.counted, 11):
        killed = nursery.run(tmp_path, ("do", "build", str(root), str(LENGTH)), Fault(str(root), "kill", at))
        assert killed.code == -9, killed
        finished = inodes(root)
        again = nursery.run(tmp_path, ("do", "build", str(root), str(LENGTH)))
        assert again.code == 0, again.said
        assert finished.items() <= inodes(root).items()
        assert {s.key(): hash_files(Store(root).folder_of(s)) for s in stages} == wanted
        for path in root.rglob("*"):
            os.chmod(path, 0o755)
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert Store(clean).build(chain(LENGTH), Execution()).cached
