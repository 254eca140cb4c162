"""Kills: at random moments, at every file operation of a training, and at every step of a pipeline.

One decision: a trial counts only when the process really died by its kill. A run that ended first is repeated with an
earlier moment, and the repeats are counted.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from acts import chain
from nursery import Fault, Nursery, compile_shim
from trials import HARD_FAIL, LOST_WORK, PASS, SILENT_DIVERGENCE, STORE, WITHOUT_DATABASE, Bench, crash, ended, make_bench, make_loop_bench

from luthier.core.record import hash_files
from luthier.core.stage import topological
from luthier.core.store import Store
from toy_project import environment, make_learner, write_toy

Result = dict[str, Any]
OTHER = ("run", "train.seed=14", "name=other", "--reason", "another seed")


@contextmanager
def place() -> Iterator[tuple[Path, Nursery]]:
    """A folder that goes away, and a process to fork trials from. Needs a C compiler."""
    with tempfile.TemporaryDirectory(prefix="luthier-reliability-") as name:
        shim = compile_shim(Path(name))
        assert shim is not None, "a C compiler (cc or gcc) is needed"
        with Nursery(shim, environment()) as nursery:
            yield Path(name), nursery


def outcome(folder: Path, name: str = "toy") -> Result:
    """What must be the same however often a run was killed: adapter, predictions, scores, verdict, one line per metric and step."""
    (run,) = (folder / STORE / "runs").glob(f"*-{name}")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "adapter": (run / "train" / "adapter" / "adapter_model.safetensors").read_bytes(),
        "predictions": (run / "predictions.jsonl").read_bytes(),
        "scores": (run / "tuned" / "scores.json").read_bytes(),
        "verdict": json.loads((run / "report.json").read_text())["verdict"],
        "rows of training": [(m["step"], m["split"], m["name"], m["value"]) for m in metrics if m["name"] != "seconds_per_step"],
        "ledger": (run / "ledger.jsonl").read_bytes(),
    }


def random_kills(times: int, seed: int) -> Result:
    """One training run, afresh for each kill -9 at a random moment; the same call must end with the same bytes, figures and rows."""
    rng, failures, moments, repeats = random.Random(seed), [], [], 0
    with place() as (root, nursery):
        bench = make_loop_bench(nursery, root)
        seconds = nursery.run(bench.copy(root / "warm"), bench.verb).seconds
        for trial in range(times):
            moment = rng.uniform(0.0, 1.0) * seconds
            while nursery.run(bench.copy(root / "killed"), bench.verb, kill_after_s=moment).code != -signal.SIGKILL:
                moment, repeats = 0.7 * moment, repeats + 1  # it ended first: again, and earlier
            moments.append(round(moment, 4))
            again = nursery.run(root / "killed", bench.verb)
            if again.code != 0 or ended(root / "killed") != bench.wanted:
                failures.append({"trial": trial, "exit_code": again.code, "said": again.said[-1000:]})
    facts = {"killed": len(moments), "repeats": repeats, "whole_run_seconds": round(seconds, 3), "moments_s": moments}
    return {"trials": times, **facts, "failures": failures}


def run_kills(times: int, seed: int) -> Result:
    """A fresh toy project for each kill -9 at a random moment of `luthier run`; the same command must end with the same bytes."""
    rng, failures, moments, repeats = random.Random(seed), [], [], 0
    with place() as (root, nursery):
        base = make_learner(root / "learner")
        for name in ("warm", "clean"):
            write_toy(root / name, base)
            whole = nursery.run(root / name, ("run",))
            assert whole.code == 0, whole.said
        wanted = outcome(root / "clean")
        for trial in range(times):
            folder, moment = root / "killed", rng.uniform(0.02, 1.0) * whole.seconds
            while True:
                shutil.rmtree(folder, ignore_errors=True)
                write_toy(folder, base)
                if nursery.run(folder, ("run",), kill_after_s=moment).code == -signal.SIGKILL:
                    break
                moment, repeats = 0.7 * moment, repeats + 1
            moments.append(round(moment, 3))
            again = nursery.run(folder, ("run",))
            if again.code != 0:
                failures.append({"trial": trial, "exit_code": again.code, "said": again.said[-1000:]})
                continue
            found = outcome(folder)
            failures += [{"trial": trial, "differs": part} for part in wanted if found[part] != wanted[part]]
    facts = {"killed": len(moments), "repeats": repeats, "whole_run_seconds": round(whole.seconds, 2), "moments_s": moments}
    return {"trials": times, **facts, "failures": failures}


def every_operation(times: int, seed: int) -> Result:
    """A kill before each file operation of a training run, and in the middle of each write."""
    return _operations(times, make_loop_bench)


def train_operations(times: int, seed: int) -> Result:
    """The same for `times` operations, evenly spread, of `luthier train`."""
    return _operations(times, lambda nursery, root: make_bench(nursery, make_learner(root / "learner"), root / "bench"))


def two_processes(times: int, seed: int) -> Result:
    """The same of a training in two processes; the first one is killed, which ends the other."""
    verb = ("train", "--nproc", "2")
    return _operations(times, lambda nursery, root: make_bench(nursery, make_learner(root / "learner"), root / "bench", verb))


def _operations(times: int, make: Callable[[Nursery, Path], Bench]) -> Result:
    """times: at most about so many points (0: all)."""
    with place() as (root, nursery):
        bench = make(nursery, root)
        points = [("kill", at + 1) for at in range(len(bench.operations))]
        points += [("tear", at + 1) for at, (kind, _) in enumerate(bench.operations) if kind == "write"]
        if times:
            points = points[:: max(1, len(points) // times)]
        verdicts: Counter[str] = Counter({PASS: 0, HARD_FAIL: 0, SILENT_DIVERGENCE: 0, LOST_WORK: 0})
        failures = []
        for mode, at in points:
            trial = crash(nursery, bench, root / "toy", mode, at)
            verdicts[trial["verdict"]] += 1
            if trial["verdict"] != PASS:
                failures.append(trial)
    kinds = Counter(kind for kind, _ in bench.operations)
    return {"trials": len(points), "operations": len(bench.operations), "by_kind": kinds, "verdicts": verdicts, "failures": failures}


def pipeline_kills(times: int, seed: int) -> Result:
    """Twelve chained steps killed at every file operation, then a real pipeline of twelve stages killed around each step's end."""
    with place() as (root, nursery):
        small = _chain_kills(nursery, root, 12)
        real = _real_kills(nursery, root, times, seed)
    both = {"chain": small, "real": real}
    facts = {name: {k: v for k, v in part.items() if k != "failures"} for name, part in both.items()}
    return {"trials": small["trials"] + real["trials"], **facts, "failures": small["failures"] + real["failures"]}


def _chain_kills(nursery: Nursery, root: Path, length: int) -> Result:
    clean, store, failures = root / "chain", root / "chain-killed", []
    clean.mkdir()
    whole = nursery.run(root, ("do", "build", str(clean), str(length)), Fault(str(clean)))
    assert whole.code == 0, whole.said
    stages = topological(chain(length))
    wanted = [hash_files(Store(clean).folder_of(s)) for s in stages]
    for at in range(1, whole.counted + 1):
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir()
        died = nursery.run(root, ("do", "build", str(store), str(length)), Fault(str(store), "kill", at))
        finished = _records(store)
        again = nursery.run(root, ("do", "build", str(store), str(length)))
        same = again.code == 0 and [hash_files(Store(store).folder_of(s)) for s in stages] == wanted
        if died.code != -signal.SIGKILL or not same or not finished.items() <= _records(store).items():
            failures.append({"at": at, "died": died.code, "exit_code": again.code, "same": same, "said": again.said[-500:]})
    return {"trials": whole.counted, "steps": length, "failures": failures}


def _real_kills(nursery: Nursery, root: Path, times: int, seed: int) -> Result:
    """`luthier run`, then a second run that shares its data: twelve artifacts. Killed before, after and between each one's publication."""
    base, rng, failures = make_learner(root / "learner"), random.Random(seed), []
    folder = root / "real"
    write_toy(folder, base)
    log = root / "operations.log"
    points = []
    for verb in (("run",), OTHER):
        done = nursery.run(folder, verb, Fault(str(folder / STORE), "record", ignore=WITHOUT_DATABASE, log=str(log)))
        assert done.code == 0, done.said
        points += _around_publications(verb, log)
    wanted = [outcome(folder, name) for name in ("toy", "other")]
    steps = len(_records(folder / STORE))
    chosen = rng.sample(points, min(times, len(points)))
    for verb, at in chosen:
        shutil.rmtree(folder)
        write_toy(folder, base)
        calls = [("run",), OTHER]
        if verb == OTHER:
            nursery.run(folder, calls.pop(0))
        died = nursery.run(folder, verb, Fault(str(folder / STORE), "kill", at, ignore=WITHOUT_DATABASE))
        finished = _records(folder / STORE)
        codes = [nursery.run(folder, call).code for call in calls]
        same = codes == [0] * len(codes) and [outcome(folder, name) for name in ("toy", "other")] == wanted
        if died.code != -signal.SIGKILL or not same or not finished.items() <= _records(folder / STORE).items():
            failures.append({"verb": verb, "at": at, "died": died.code, "exit_codes": codes, "same": same})
    return {"trials": len(chosen), "steps": steps, "failures": failures}


def _around_publications(verb: tuple[str, ...], log: Path) -> list[tuple[tuple[str, ...], int]]:
    """Before and after each rename into `artifacts/`, and half way from the one before."""
    from power import read_log

    ends = [i + 1 for i, op in enumerate(read_log(log)) if op.kind == "rename" and "/artifacts/" in op.other]
    starts = [0, *ends[:-1]]
    return [(verb, at) for start, end in zip(starts, ends, strict=True) for at in ((start + end) // 2 or 1, end, end + 1)]


def _records(store: Path) -> dict[str, tuple[int, int]]:
    """The finished artifacts: a record that was written again would have another inode or time."""
    return {p.parent.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (store / "artifacts").glob("*/record.json")}


def ckpt_chaos(times: int, seed: int) -> Result:
    """The published tool of that name on `chaos_job.py`: its own kills, torn writes and losses of unflushed bytes, judged by itself."""
    return _chaos(times, processes=1)


def ckpt_chaos_two(times: int, seed: int) -> Result:
    """The same of a training in two gloo processes: the first one, which writes all files, is killed, and that ends the other."""
    return _chaos(times, processes=2)


def _chaos(times: int, processes: int) -> Result:
    """times: at most so many points, divided between the three modes (0: every event in every mode).

    The tool takes the last number of a folder's name for the step, so a step that was saved again reads as step 1 to it; our own
    trials judge lost work exactly.
    """
    from ckpt_chaos.runner import rejudge

    job = Path(__file__).with_name("chaos_job.py")
    with tempfile.TemporaryDirectory(prefix="luthier-chaos-") as name:
        work = Path(name) / "runs"
        line = [sys.executable, "-m", "ckpt_chaos", "run", "--max-points", str(times or 100_000), "--modes", "before,torn,unsynced"]
        line += ["--work", str(work), "--checkpoint-glob", "{out}/scratch/checkpoints/step-*"]
        line += ["--step-regex", r"resumed training at step (\d+)", "--result-file", "{out}/final/adapter_model.safetensors"]
        line += ["--", sys.executable, str(job), "{out}", str(processes)]
        done = subprocess.run(line, env=environment(), cwd=name, capture_output=True, text=True, check=False)
        assert (work / "reference").is_dir(), done.stderr[-2000:] + done.stdout[-2000:]
        rows = rejudge(work)
        events = len((work / "reference" / "events.log.rank0").read_text().splitlines())
    failures = [{"point": row.label, "verdict": row.verdict, "outcome": str(row.outcome)} for row in rows if row.verdict != PASS]
    facts = {
        "tool": f"ckpt-chaos {version('ckpt-chaos')}",
        "processes": processes,
        "events": events,
        "drift": sum(row.drift for row in rows),  # the n-th event bore another name: what is written aside holds the process number
        "verdicts": Counter(row.verdict for row in rows),
    }
    return {"trials": len(rows), **facts, "failures": failures}


KILLS: dict[str, tuple[Callable[[int, int], Result], int]] = {
    "random-kills": (random_kills, 100),
    "run-kills": (run_kills, 40),
    "every-operation": (every_operation, 0),
    "train-operations": (train_operations, 60),
    "two-processes": (two_processes, 24),
    "ckpt-chaos": (ckpt_chaos, 40),
    "ckpt-chaos-two": (ckpt_chaos_two, 24),
    "pipeline-kills": (pipeline_kills, 12),
}
