"""A sample of the faults at every file operation; `reliability/crash.py` carries out all of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from acts import chain
from nursery import Fault, Nursery
from trials import NEEDS_SPACE, PASS, PEOPLE_ONLY, STORE, Bench, crash, make_bench, make_loop_bench, refuse

from luthier.core.execution import Execution
from luthier.core.record import hash_files
from luthier.core.stage import topological
from luthier.core.store import Store

LENGTH = 12
FLUSH_FAILED = ("the disk failed", "check the disk")
DISK_FULL = ("disk full while", "bytes are needed", "are free", "run the same command again")


@pytest.fixture(scope="module")
def loop(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_loop_bench(nursery, tmp_path_factory.mktemp("loop"))


@pytest.fixture(scope="module")
def verb(nursery: Nursery, learner_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(nursery, learner_base, tmp_path_factory.mktemp("verb"))


def points(bench: Bench, every: int) -> list[tuple[str, int]]:
    """Every so many operations, and every so many writes."""
    writes = [at + 1 for at, (kind, _) in enumerate(bench.operations) if kind == "write"]
    return [("kill", at) for at in range(2, len(bench.operations), every)] + [("tear", at) for at in writes[1 :: every // 2]]


def test_a_kill_at_an_operation_loses_nothing(nursery: Nursery, loop: Bench, tmp_path: Path) -> None:
    chosen = points(loop, 13)
    assert len(chosen) >= 12
    seen = [crash(nursery, loop, tmp_path / "run", mode, at) for mode, at in chosen]
    assert [trial for trial in seen if trial["verdict"] != PASS] == []


def test_a_kill_of_the_whole_verb_loses_nothing(nursery: Nursery, verb: Bench, tmp_path: Path) -> None:
    saves = [i + 1 for i, (kind, name) in enumerate(verb.operations) if kind == "rename" or name == "record.json"]
    seen = [crash(nursery, verb, tmp_path / "run", "kill", at) for at in (saves[1], saves[-3] + 1, saves[-1] + 3)]
    assert [trial for trial in seen if trial["verdict"] != PASS] == []


def test_a_disk_that_fills_up_is_one_message_and_loses_nothing(nursery: Nursery, loop: Bench, verb: Bench, tmp_path: Path) -> None:
    for bench, at in ((loop, 1), (loop, 8), (loop, 21), (loop, 40), (verb, 30)):
        fault = Fault(str(tmp_path / "run" / STORE), "refuse from", at, errno.ENOSPC, PEOPLE_ONLY, NEEDS_SPACE)
        trial = refuse(nursery, bench, tmp_path / "run", fault, DISK_FULL)
        assert (trial["exit_code"], trial["faults"]) == (3, []), trial


def test_a_flush_that_fails_is_one_message_and_loses_nothing(nursery: Nursery, loop: Bench, verb: Bench, tmp_path: Path) -> None:
    for bench, at in ((loop, 1), (loop, 9), (loop, 24), (verb, 12)):
        fault = Fault(str(tmp_path / "run" / STORE), "refuse", at, errno.EIO, PEOPLE_ONLY, ("fsync",))
        trial = refuse(nursery, bench, tmp_path / "run", fault, FLUSH_FAILED)
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
