"""The disk: full at every write, failing at every flush, cut off at every operation, and changed by a byte afterwards.

One decision: the same trials as in `tests/faults`, but all of them; a failure is written down with what was said.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acts import chain, state_of
from crash import place
from nursery import Fault, Nursery
from power import lay, read_log, snapshot, states, steps_of
from trials import NEEDS_SPACE, PEOPLE_ONLY, STORE, WITHOUT_DATABASE, Bench, make_bench, make_loop_bench, refuse, trained

from luthier.core.errors import CorruptArtifact
from luthier.core.execution import Execution
from luthier.core.record import hash_files
from luthier.core.record import verify as verify_artifact
from luthier.core.store import Store
from luthier.engine.checkpoint.folder import load_newest, save_checkpoint
from toy_project import command, environment, make_learner

Result = dict[str, Any]
DISK_FULL = ("disk full while", "bytes are needed", "are free", "run the same command again")
FAILED = ("the disk failed", "check the disk")


def refused_writes(times: int, seed: int) -> Result:
    """The disk full from each write of a training run on, each of its flushes failing; then `times` of each of `luthier train`."""
    with place() as (root, nursery):
        loop = _refusals(nursery, make_loop_bench(nursery, root), root / "toy", 0)
        verb = _refusals(nursery, make_bench(nursery, make_learner(root / "learner"), root / "bench"), root / "toy", times)
    facts = {name: {k: v for k, v in part.items() if k != "failures"} for name, part in (("loop", loop), ("luthier train", verb))}
    return {"trials": loop["trials"] + verb["trials"], **facts, "failures": loop["failures"] + verb["failures"]}


def _refusals(nursery: Nursery, bench: Bench, folder: Path, times: int) -> Result:
    """times: at most about so many of each error, evenly spread (0: all)."""
    failures: list[Result] = []
    ends: Counter[str] = Counter()
    root = str(folder / STORE)
    for mode, error, kinds, words in (("refuse from", errno.ENOSPC, NEEDS_SPACE, DISK_FULL), ("refuse", errno.EIO, ("fsync",), FAILED)):
        bench.copy(folder)
        total = nursery.run(folder, bench.verb, Fault(root, ignore=PEOPLE_ONLY, kinds=kinds)).counted
        for at in range(1, total + 1, max(1, total // times) if times else 1):
            trial = refuse(nursery, bench, folder, Fault(root, mode, at, error, PEOPLE_ONLY, kinds), words)
            ends[f"{errno.errorcode[error]}: exit code {trial['exit_code']}"] += 1
            failures += [{"error": errno.errorcode[error], **trial}] if trial["faults"] else []
    return {"trials": sum(ends.values()), "ends": ends, "failures": failures}


def power_cuts(times: int, seed: int) -> Result:
    """Every enumerated state after a cut in a save or an artifact; then `times` random ones of a whole training."""
    with place() as (root, nursery):
        parts = {
            "checkpoint": _cuts(nursery, root / "checkpoint", _saved_twice, ("save", "3"), _reads_as_checkpoint, seed),
            "checkpoint saved again": _cuts(nursery, root / "again", _saved_twice, ("save", "2", "7"), _reads_as_checkpoint, seed),
            "artifact": _cuts(nursery, root / "artifact", lambda folder: folder.mkdir(), ("build",), _reads_as_artifact, seed),
        }
        training = _training_cuts(nursery, root, times, seed)
    facts = {name: {k: v for k, v in part.items() if k != "failures"} for name, part in {**parts, "training": training}.items()}
    everything = [*parts.values(), training]
    return {"trials": sum(p["states"] for p in everything), **facts, "failures": [f for p in everything for f in p["failures"]]}


def _saved_twice(folder: Path) -> None:
    for step in (1, 2):
        save_checkpoint(folder, step, state_of(step))


def _cuts(
    nursery: Nursery, root: Path, prepare: Callable[[Path], object], act: tuple[str, ...], read: Callable[[Path], str], seed: int
) -> Result:
    """Record one act, then read every state that a power cut may leave."""
    folder, again, log = root / "store", root / "again", root / "operations.log"
    root.mkdir()
    prepare(folder)
    before = snapshot(folder)
    ignore = ("lease.json", ".lock")
    done = nursery.run(root, ("do", act[0], str(folder), *act[1:]), Fault(str(folder), "record", log=str(log), ignore=ignore))
    assert done.code == 0, done.said
    steps, _ = steps_of(read_log(log), before, folder)
    seen, failures = Counter(), []
    for cut, tree in states(before, steps, seed, limit=60):
        lay(tree, again)
        verdict = read(again)
        seen[verdict] += 1
        if verdict not in ("old", "new") or (cut == len(steps) and verdict != "new"):
            failures.append({"act": act, "cut": cut, "of": len(steps), "read as": verdict})
    return {"states": sum(seen.values()), "operations": len(steps), "read_as": seen, "failures": failures}


def _reads_as_checkpoint(folder: Path) -> str:
    """old: the second save without salt; new: a third step, or the second with salt."""
    from torch import equal

    found = load_newest(folder)
    if found is None:
        return "nothing"
    loop = found.state["loop"]
    if not equal(found.state["adapter.a"], state_of(loop["step"], loop["salt"])["adapter.a"]):
        return "other bytes"
    return {(2, 0): "old", (3, 0): "new", (2, 7): "new"}.get((loop["step"], loop["salt"]), f"step {loop['step']}")


def _reads_as_artifact(root: Path) -> str:
    for path in root.rglob("*"):
        os.chmod(path, 0o755)
    found = Store(root).find(chain(1))
    built = Store(root).build(chain(1), Execution())
    wanted = {"metrics.jsonl", "scores.json", "sub/rows.txt"}
    if set(hash_files(built.path)) != wanted:
        return f"files {sorted(hash_files(built.path))}"
    return "old" if found is None else "new"


def _training_cuts(nursery: Nursery, root: Path, times: int, seed: int) -> Result:
    """Random states of a recorded training with its database: the same command must end with the same bytes."""
    rng, failures = random.Random(seed), []
    bench = make_bench(nursery, make_learner(root / "learner"), root / "bench")
    folder, log = bench.copy(root / "cut"), root / "training.log"
    before = snapshot(folder / STORE)
    ignore = (*PEOPLE_ONLY, ".lock")
    done = nursery.run(folder, ("train",), Fault(str(folder / STORE), "record", log=str(log), ignore=ignore))
    assert done.code == 0, done.said
    steps, _ = steps_of(read_log(log), before, folder / STORE)
    every = list(states(before, steps, seed, limit=1))
    for cut, tree in rng.sample(every, min(times, len(every))):
        lay(tree, folder / STORE)
        again = nursery.run(folder, ("train",))
        if again.code != 0 or trained(folder) != bench.wanted:
            failures.append({"act": "train", "cut": cut, "exit_code": again.code, "said": again.said[-800:]})
    return {"states": min(times, len(every)), "enumerated": len(every), "operations": len(steps), "failures": failures}


def checkpoint_flips(times: int, seed: int) -> Result:
    """One random byte of the newest checkpoint changed at a time, then cut short: the older one must be used and that be said."""
    rng, missed = random.Random(seed), []
    with place() as (root, nursery):
        bench = make_bench(nursery, make_learner(root / "learner"), root / "bench")
        folder = bench.copy(root / "toy")
        trained_at = bench.operations.index(("create", "adapter_model.safetensors")) + 1
        nursery.run(folder, ("train",), Fault(str(folder / STORE), "kill", trained_at, ignore=WITHOUT_DATABASE))
        (saved,) = (folder / STORE / "work").glob("*/scratch/checkpoints")
        newest = load_newest(saved)
        assert newest is not None
        files = sorted(max(saved.glob("step-*")).iterdir())
        sizes = [p.stat().st_size for p in files]
        for trial in range(times + times // 10):
            path = rng.choices(files, sizes)[0]
            original = path.read_bytes()
            at = rng.randrange(len(original))
            changed = original[:at] + bytes([original[at] ^ rng.randrange(1, 256)]) + original[at + 1 :] if trial < times else original[:at]
            path.write_bytes(changed)
            found = load_newest(saved)
            if found is None or found.step >= newest.step or len(found.notes) != 1:
                missed.append({"file": path.name, "byte": at, "cut": trial >= times})
            path.write_bytes(original)
        whole = load_newest(saved)
        assert whole is not None
        assert whole.notes == ()
    return {"trials": times, "torn": times // 10, "bytes": sum(sizes), "failures": missed}


def store_flips(times: int, seed: int) -> Result:
    """One random byte of any file of any finished artifact changed at a time: reading must find each."""
    rng, missed = random.Random(seed), []
    with place() as (root, nursery):
        bench = make_bench(nursery, make_learner(root / "learner"), root / "bench")
        folder = bench.copy(root / "toy")
        assert nursery.run(folder, ("train",)).code == 0
        artifacts = sorted(p for p in (folder / STORE / "artifacts").iterdir() if p.is_dir())
        files = [p for a in artifacts for p in a.rglob("*") if p.is_file()]
        for _ in range(times):
            path = rng.choice(files)
            artifact = next(a for a in artifacts if a in path.parents)
            original = path.read_bytes()
            at = rng.randrange(len(original))
            path.chmod(0o644)
            path.write_bytes(original[:at] + bytes([original[at] ^ rng.randrange(1, 256)]) + original[at + 1 :])
            try:
                verify_artifact(artifact)
                missed.append({"file": str(path.relative_to(folder)), "byte": at})
            except CorruptArtifact as err:
                if path.name not in str(err):
                    missed.append({"file": str(path.relative_to(folder)), "byte": at, "said": str(err)})
            path.write_bytes(original)
    return {"trials": times, "files": len(files), "artifacts": len(artifacts), "failures": missed}


def libfiu(times: int, seed: int) -> Result:
    """Debian's `fiu-run`: 5 % of all writes find the disk full, 10 % of all flushes fail; the undisturbed command then ends the same."""
    if shutil.which("fiu-run") is None:
        return {"trials": 0, "not_run": "fiu-run is not installed (apt install fiu-utils)", "failures": []}
    failures, exits = [], Counter()
    settings = ("posix/io/rw/write,probability=0.05,failinfo=28", "posix/io/sync/fsync,probability=0.1,failinfo=5")
    with place() as (root, nursery):
        bench = make_bench(nursery, make_learner(root / "learner"), root / "bench")
        for trial in range(times):
            folder, setting = bench.copy(root / "toy"), settings[trial % 2]
            done = _disturbed(folder, setting)
            exits[f"{setting.partition(',')[0]} exit {done.returncode}"] += 1
            again = nursery.run(folder, ("train",))
            if again.code != 0 or trained(folder) != bench.wanted or "Traceback" in done.stderr:
                failures.append({"trial": trial, "said": done.stderr[-800:], "exit_code": again.code, "then": again.said[-600:]})
    return {"trials": times, "exit_codes": exits, "failures": failures}


def _disturbed(folder: Path, setting: str) -> subprocess.CompletedProcess[str]:
    line = ["fiu-run", "-x", "-c", f"enable_random name={setting}", *command("train")]
    return subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


DISK: dict[str, tuple[Callable[[int, int], Result], int]] = {
    "refused-writes": (refused_writes, 20),
    "power-cuts": (power_cuts, 30),
    "checkpoint-flips": (checkpoint_flips, 1000),
    "store-flips": (store_flips, 1000),
    "libfiu": (libfiu, 20),
}
