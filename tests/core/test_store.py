"""The store: atomic, verified, resumable, one builder at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from luthier.core.artifacts import Dataset
from luthier.core.errors import CorruptArtifact, LeaseHeld, MachineError
from luthier.core.events import Event, Metric, StageFinished
from luthier.core.execution import Execution
from luthier.core.lease import acquire
from luthier.core.stage import Context, Stage
from luthier.core.store import Interrupted, Store

RUN = Execution()


class Count(Stage[Dataset]):
    n: int

    def build(self, ctx: Context) -> Dataset:
        log = ctx.dir / "scratch" / "started"
        log.write_text(log.read_text() + "x" if log.exists() else "x")
        ctx.observer(Metric(1, "train", "loss", 0.5))
        (ctx.dir / "sub").mkdir(exist_ok=True)
        (ctx.dir / "sub" / "rows.txt").write_text("row\n" * self.n)
        if ctx.stop_requested():
            ctx.stop("half way")
        return Dataset(kind="text", files={}, counts={"any": self.n, "starts": len(log.read_text())})


class Double(Stage[Dataset]):
    below: Stage[Dataset]

    def build(self, ctx: Context) -> Dataset:
        n = ctx.get(self.below).result.counts["any"]
        return Dataset(kind="text", files={}, counts={"any": 2 * n})


def test_a_second_build_is_found_and_builds_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    assert Store(tmp_path).build(Double(below=Count(n=3)), RUN, events.append).result.counts["any"] == 6
    events.clear()
    again = Store(tmp_path).build(Double(below=Count(n=3)), RUN, events.append)
    assert again.cached
    assert [type(e) for e in events] == [StageFinished]


def test_a_change_rebuilds_only_what_is_above_it(tmp_path: Path) -> None:
    Store(tmp_path).build(Double(below=Count(n=3)), RUN)
    events: list[Event] = []
    Store(tmp_path).build(Double(below=Count(n=4)), RUN, events.append)
    assert {e.stage for e in events if isinstance(e, StageFinished) and not e.cached} == {"count", "double"}


def test_the_record_holds_config_inputs_execution_provenance_and_hashes(tmp_path: Path) -> None:
    built = Store(tmp_path).build(Double(below=Count(n=3)), RUN)
    record = json.loads((built.path / "record.json").read_text())
    assert record["inputs"] == {"below": Count(n=3).key()}
    assert record["execution"]["engine"] == "auto"
    assert record["provenance"]["packages"]["pydantic"]
    below = json.loads((Store(tmp_path).folder_of(Count(n=3)) / "record.json").read_text())
    assert set(below["files"]) == {"sub/rows.txt", "metrics.jsonl"}


def test_the_artifact_is_read_only_and_scratch_is_gone(tmp_path: Path) -> None:
    built = Store(tmp_path).build(Count(n=3), RUN)
    assert not (built.path / "scratch").exists()
    assert (built.path / "sub" / "rows.txt").stat().st_mode & 0o222 == 0


@pytest.mark.parametrize("damage", ["flip", "delete", "add", "record"])
def test_damage_is_found_on_read_and_named(tmp_path: Path, damage: str) -> None:
    built = Store(tmp_path).build(Count(n=3), RUN)
    victim = built.path / "sub" / "rows.txt"
    victim.chmod(0o644)
    if damage == "flip":
        victim.write_bytes(b"X" + victim.read_bytes()[1:])
    elif damage == "delete":
        victim.unlink()
    elif damage == "add":
        (built.path / "extra").write_text("")
    else:
        (built.path / "record.json").chmod(0o644)
        (built.path / "record.json").write_text("{")
    with pytest.raises(CorruptArtifact, match="delete that folder and run the same command again") as err:
        Store(tmp_path).build(Count(n=3), RUN)
    assert {"flip": "rows.txt", "delete": "rows.txt", "add": "extra", "record": "record.json"}[damage] in str(err.value)


def test_every_flipped_byte_of_a_small_artifact_is_found(tmp_path: Path) -> None:
    built = Store(tmp_path).build(Count(n=5), RUN)
    victim = built.path / "sub" / "rows.txt"
    victim.chmod(0o644)
    original = victim.read_bytes()
    for i in range(len(original)):
        victim.write_bytes(original[:i] + bytes([original[i] ^ 1]) + original[i + 1 :])
        with pytest.raises(CorruptArtifact):
            Store(tmp_path).find(Count(n=5))
    victim.write_bytes(original)
    assert Store(tmp_path).find(Count(n=5)) is not None


def test_every_flipped_byte_of_a_record_is_found(tmp_path: Path) -> None:
    record = Store(tmp_path).build(Count(n=5), RUN).path / "record.json"
    record.chmod(0o644)
    original = record.read_bytes()
    for i in range(len(original)):
        record.write_bytes(original[:i] + bytes([original[i] ^ 4]) + original[i + 1 :])
        with pytest.raises(CorruptArtifact, match=r"record\.json"):
            Store(tmp_path).find(Count(n=5))
    record.write_bytes(original)
    assert Store(tmp_path).find(Count(n=5)) is not None


def test_what_a_killed_write_left_beside_its_file_is_not_in_the_artifact(tmp_path: Path) -> None:
    work = Store(tmp_path).work / Count(n=3).key()[:12] / "sub"
    work.mkdir(parents=True)
    (work / ".rows.txt.77.aside").write_text("half")
    built = Store(tmp_path).build(Count(n=3), RUN)
    assert [p.name for p in (built.path / "sub").iterdir()] == ["rows.txt"]


class Leaning(Count):
    """A stage whose finished artifact needs something that is no longer there."""

    def gone(self, result: Dataset) -> str:
        return "it leans on nothing" if result.counts["starts"] == 1 else ""


def test_a_kill_while_an_artifact_is_taken_away_leaves_it_whole_or_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).build(Leaning(n=3), RUN)
    monkeypatch.setattr("luthier.core.store.remove_tree", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).build(Leaning(n=3), RUN)
    monkeypatch.undo()
    assert not Store(tmp_path).is_built(Leaning(n=3))
    assert Store(tmp_path).build(Leaning(n=3), RUN).result.counts["any"] == 3
    assert not list(Store(tmp_path).work.glob(".gone-*"))


def test_a_stopped_build_keeps_its_scratch_and_goes_on(tmp_path: Path) -> None:
    flags = iter([False, True])
    with pytest.raises(Interrupted, match="run the same command again"):
        Store(tmp_path).build(Count(n=3), RUN, stop_flag=lambda: next(flags))
    assert Store(tmp_path).in_progress(Count(n=3))
    assert Store(tmp_path).build(Count(n=3), RUN).result.counts["starts"] == 2


def test_a_kill_between_record_and_rename_is_finished_and_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.core.store.make_read_only", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).build(Count(n=3), RUN)
    monkeypatch.undo()
    built = Store(tmp_path).build(Count(n=3), RUN)
    assert built.result.counts["starts"] == 1
    assert not built.cached


def test_an_unwritable_place_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="creating the store"):
        Store(tmp_path / "file").build(Count(n=1), RUN)


def test_a_full_disk_is_one_message_and_leaves_no_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, body: object) -> None:
        raise OSError(28, "No space left on device", str(folder / "record.json"))

    monkeypatch.setattr("luthier.core.record.write_record", full)
    with pytest.raises(MachineError, match=r"disk full while building count .*record\.json"):
        Store(tmp_path).build(Count(n=3), RUN)
    monkeypatch.undo()
    assert not Store(tmp_path).is_built(Count(n=3))
    assert Store(tmp_path).build(Count(n=3), RUN).result.counts["any"] == 3


def test_a_second_process_is_told_who_holds_the_lease(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from luthier.core.lease import acquire
        acquire(Path({str(tmp_path / "x")!r}), "train 0123", wait=False)
        print("held", flush=True)
        time.sleep(60)
    """)
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(LeaseHeld, match=rf"train 0123 is being built by process {child.pid} .*--wait"):
        acquire(tmp_path / "x", "train 0123", wait=False)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    start = time.monotonic()
    lease = acquire(tmp_path / "x", "train 0123", wait=True)  # a killed holder blocks nobody
    assert time.monotonic() - start < 2
    lease.__exit__(None, None, None)


def test_two_processes_build_once(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from luthier.core.artifacts import Dataset
        from luthier.core.execution import Execution
        from luthier.core.stage import Stage
        from luthier.core.store import Store

        class Slow(Stage[Dataset]):
            def build(self, ctx):
                with open({str(tmp_path / "log")!r}, "a") as f:
                    f.write("built\\n")
                time.sleep(0.5)
                return Dataset(kind="text", files={{}}, counts={{}})

        print(Store(Path({str(tmp_path / "store")!r})).build(Slow(), Execution(), wait=True).key)
    """)
    children = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    keys = {child.communicate(timeout=60)[0] for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert len(keys) == 1
    assert (tmp_path / "log").read_text() == "built\n"
