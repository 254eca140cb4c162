"""One trial: a verb with a fault of the disk, then the same verb without it; how it ended against a run without a fault.

One decision: a trial is judged by four words. HARD_FAIL: the second call fails, so a person is needed. SILENT_DIVERGENCE:
it ends with other bytes. LOST_WORK: it went on from an older checkpoint than the newest whole one on disk. PASS: none of these.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nursery import Ended, Fault, Nursery

from toy_project import write_toy

PASS, HARD_FAIL, SILENT_DIVERGENCE, LOST_WORK = "PASS", "HARD_FAIL", "SILENT_DIVERGENCE", "LOST_WORK"
STORE = ".luthier"
PEOPLE_ONLY = ("lease.json",)
WITHOUT_DATABASE = (*PEOPLE_ONLY, ".lock", "luthier.db")
NEEDS_SPACE = ("create", "mkdir", "write", "symlink")
SHORT = {"method": {"kind": "lora", "rank": 4}, "learning_rate": 0.01, "epochs": 2, "batch_size": 8, "evaluations": 2, "train_sample": 0}


@dataclass(frozen=True)
class Bench:
    """A project with all before its training done, and what a training without a fault ends with."""

    template: Path
    wanted: dict[str, Any]
    operations: tuple[tuple[str, str], ...]
    verb: tuple[str, ...] = ("train",)

    def copy(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.template, folder, symlinks=True)
        return folder


def trained(folder: Path) -> dict[str, Any]:
    """What must be the same: every file of the training's artifact, its result, its metrics but for times."""
    (artifact,) = (folder / STORE / "artifacts").glob("train-*")
    record = json.loads((artifact / "record.json").read_text())
    files = {p.relative_to(artifact).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in artifact.rglob("*") if p.is_file()}
    metrics = [json.loads(line) for line in (artifact / "metrics.jsonl").read_text().splitlines()]
    timed = ("record.json", "metrics.jsonl")
    return {
        "files": {name: files[name] for name in sorted(files) if name not in timed} | dict.fromkeys(timed),
        "result": {k: v for k, v in record["result"].items() if k != "predicted_memory_bytes"},
        "metrics": [m for m in metrics if m["name"] != "seconds_per_step"],
        "rows of metrics": len(metrics),
    }


def ended(folder: Path) -> dict[str, Any]:
    """`trained` of a project, or the adapter and the figures of the bare training loop."""
    if not (folder / STORE / "final").is_dir():
        return trained(folder)
    adapter = (folder / STORE / "final" / "adapter_model.safetensors").read_bytes()
    return {"adapter": hashlib.sha256(adapter).hexdigest(), "metrics": (folder / STORE / "metrics.jsonl").read_text().splitlines()}


def make_loop_bench(nursery: Nursery, folder: Path) -> Bench:
    """The bare training loop on a toy base, in an empty folder."""
    from toys import save_toy

    base = folder / "base"
    save_toy(base, "llama")
    verb, whole, template, log = ("do", "train", str(base), STORE), folder / "whole", folder / "template", folder / "operations.log"
    template.mkdir()
    whole.mkdir()
    done = nursery.run(whole, verb, Fault(str(whole / STORE), "record", ignore=WITHOUT_DATABASE, log=str(log)))
    assert done.code == 0, done.said
    return Bench(template, ended(whole), operations(log), verb)


def make_bench(nursery: Nursery, base: Path, folder: Path, verb: tuple[str, ...] = ("train",)) -> Bench:
    """Train once without a fault, recorded, and keep a copy of the project without the training."""
    whole, template, log = folder / "whole", folder / "template", folder / "operations.log"
    write_toy(whole, base, train=SHORT, split={"train": 24, "validation": 6, "test": 30, "seed": 3})
    first = nursery.run(whole, verb)
    assert first.code == 0, first.said
    shutil.copytree(whole, template, symlinks=True)
    (published,) = (template / STORE / "artifacts").glob("train-*")
    shutil.rmtree(published)
    shutil.rmtree(whole)
    shutil.copytree(template, whole, symlinks=True)
    again = nursery.run(whole, verb, Fault(str(whole / STORE), "record", ignore=WITHOUT_DATABASE, log=str(log)))
    assert again.code == 0, again.said
    return Bench(template, trained(whole), operations(log), verb)


def operations(log: Path) -> tuple[tuple[str, str], ...]:
    """(kind, file name) of each recorded operation."""
    from power import read_log

    return tuple((op.kind, Path(op.path).name) for op in read_log(log))


def newest_whole(folder: Path) -> int:
    """The step of the newest checkpoint whose files have the sha256 that its marker names (0: none). Shares no code with the product."""
    steps = [0]
    for marker in (folder / STORE).glob("**/scratch/checkpoints/step-*/COMMITTED"):
        line, _, own = marker.read_bytes().partition(b"\n")
        if hashlib.sha256(line).hexdigest().encode() != own.strip():
            continue
        sums = json.loads(line)["sha256"]
        files = {name: marker.with_name(name) for name in sums}
        if all(p.is_file() and hashlib.sha256(p.read_bytes()).hexdigest() == sums[name] for name, p in files.items()):
            steps.append(int(marker.parent.name.split("-")[1]))
    return max(steps)


def crash(nursery: Nursery, bench: Bench, folder: Path, mode: str, at: int) -> dict[str, Any]:
    """Kill a training at its operation `at`, call it again, and judge."""
    bench.copy(folder)
    died = nursery.run(folder, bench.verb, Fault(str(folder / STORE), mode, at, ignore=WITHOUT_DATABASE))
    assert died.code == -signal.SIGKILL, (at, died)
    recorded = any((folder / STORE / "work").glob("*/record.json")) or any((folder / STORE / "artifacts").glob("train-*"))
    newest = newest_whole(folder)
    again = nursery.run(folder, bench.verb)
    verdict = _judge(again, folder, bench, None if recorded else newest)
    return {"at": at, "mode": mode, "operation": " ".join(bench.operations[at - 1]), "verdict": verdict, "said": again.said[-600:]}


def _judge(again: Ended, folder: Path, bench: Bench, newest: int | None) -> str:
    """newest: the checkpoint that must be used; None when the training was already done."""
    if again.code != 0:
        return HARD_FAIL
    if ended(folder) != bench.wanted:
        return SILENT_DIVERGENCE
    if newest is None:
        return LOST_WORK if "resumed training" in again.said or "step 0: validation" in again.said else PASS
    resumed = again.said.rpartition("resumed training at step ")[2].split() if "resumed training" in again.said else ["0"]
    return PASS if int(resumed[0]) == newest else LOST_WORK


def refuse(nursery: Nursery, bench: Bench, folder: Path, fault: Fault, words: tuple[str, ...]) -> dict[str, Any]:
    """Refuse operations of a training, look at the one message, give the disk back, call it again, and judge."""
    bench.copy(folder)
    failed = nursery.run(folder, bench.verb, fault)
    said = [line for line in failed.said.splitlines() if line.startswith("error: ")]
    faults = []
    if failed.code not in (0, 3):
        faults.append(f"exit code {failed.code}")
    if failed.code == 3 and (len(said) != 1 or not all(word in said[0] for word in words) or STORE not in said[0]):
        faults.append("not one message with path and bytes")
    if "Traceback" in failed.said or "fault of Luthier" in failed.said:
        faults.append("a traceback")
    again = nursery.run(folder, bench.verb)
    if again.code != 0:
        faults.append(HARD_FAIL)
    elif ended(folder) != bench.wanted:
        faults.append(SILENT_DIVERGENCE)
    return {"at": fault.at, "exit_code": failed.code, "message": said, "faults": faults, "said": again.said[-600:] if faults else ""}
