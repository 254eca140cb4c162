"""The long reliability runs: kills, byte flips and mutated inputs, each ending as a dated JSON file in `results/`.

One decision: every figure is a count of trials and of failures with the seed that repeats them; a failure is written
down with what was seen, and the command ends with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
sys.path[:0] = [str(REPO / "reliability"), str(REPO / "tests" / "faults"), str(REPO / "tests"), str(REPO / "tests" / "stages" / "data")]

from archives import hostile_archives  # noqa: E402
from crash import KILLS  # noqa: E402
from disk import DISK  # noqa: E402
from label_errors import label_errors  # noqa: E402
from memory_grid import memory_grid  # noqa: E402
from mutated import mutated_inputs  # noqa: E402
from pii import pii  # noqa: E402
from poisoning import poisoning  # noqa: E402
from stream import stream  # noqa: E402
from unlike import languages, outliers, relevance  # noqa: E402

from toy_project import command, environment, make_learner, write_toy  # noqa: E402

Result = dict[str, Any]


def outcome(folder: Path) -> dict[str, Any]:
    """What must be the same however often a run was killed: adapter, predictions, scores, verdict."""
    (run,) = (folder / ".luthier" / "runs").iterdir()
    return {
        "adapter": (run / "train" / "adapter" / "adapter_model.safetensors").read_bytes(),
        "predictions": (run / "predictions.jsonl").read_bytes(),
        "scores": (run / "tuned" / "scores.json").read_bytes(),
        "verdict": json.loads((run / "report.json").read_text())["verdict"],
    }


def run_whole(folder: Path) -> tuple[int, float, str]:
    """The run to its end: exit code, seconds, stderr."""
    began = time.monotonic()
    done = subprocess.run(command("run"), cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    return done.returncode, time.monotonic() - began, done.stderr


def run_killed(folder: Path, after_s: float) -> int | None:
    """Start a run and kill it -9 after `after_s`; the exit code when it ended before that, else None."""
    process = subprocess.Popen(command("run"), cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return None


def kills(make: Callable[[Path], object], times: int, seed: int, one_run_each: bool) -> Result:
    """Kill -9 at `times` random moments; the same command must end with the bytes of a run that was never killed.

    one_run_each: a fresh project for every kill; otherwise one project is killed again and again until it is done.
    """
    rng, failures, repeats, moments = random.Random(seed), [], 0, []
    with tempfile.TemporaryDirectory(prefix="luthier-reliability-") as name:
        root = Path(name)
        make(root / "clean")
        code, seconds, said = run_whole(root / "clean")
        assert code in (0, 1), said
        wanted = outcome(root / "clean")
        for i in range(times):
            folder, moment = root / (f"killed-{i}" if one_run_each else "killed"), rng.uniform(0.02, 1.0) * seconds
            if not folder.exists():
                make(folder)
            while run_killed(folder, moment) is not None:  # it ended first: again, from the start and earlier
                shutil.rmtree(folder)
                make(folder)
                moment, repeats = 0.7 * moment, repeats + 1
            moments.append(round(moment, 3))
            if one_run_each:
                failures += check_end(folder, wanted, i)
                shutil.rmtree(folder)
        if not one_run_each:
            failures += check_end(root / "killed", wanted, times)
    return {
        "trials": times,
        "killed": len(moments),
        "repeats": repeats,
        "whole_run_seconds": round(seconds, 1),
        "moments_s": moments,
        "failures": failures,
    }


def check_end(folder: Path, wanted: dict[str, Any], trial: int) -> list[Result]:
    """Run the same command to its end and compare; the list of what differs."""
    code, _, said = run_whole(folder)
    if code not in (0, 1):
        return [{"trial": trial, "exit_code": code, "stderr": said[-2000:]}]
    found = outcome(folder)
    return [{"trial": trial, "differs": part} for part in wanted if found[part] != wanted[part]]


def toy_kills(times: int, seed: int) -> Result:
    """The toy project, a fresh one for each kill."""
    with tempfile.TemporaryDirectory(prefix="luthier-base-") as name:
        base = make_learner(Path(name) / "learner")
        return kills(lambda folder: write_toy(folder, base), times, seed, one_run_each=True)


def quickstart_kills(times: int, seed: int) -> Result:
    """The shipped banking example with the real model, killed `times` times on its way."""

    def make(folder: Path) -> None:
        shutil.copytree(REPO / "examples" / "banking-intents", folder, ignore=shutil.ignore_patterns(".luthier"))

    return kills(make, times, seed, one_run_each=False)


TRIALS: dict[str, tuple[Callable[[int, int], Result], int]] = {
    "toy-kills": (toy_kills, 20),
    **KILLS,
    **DISK,
    "mutated-inputs": (mutated_inputs, 5000),
    "hostile-archives": (hostile_archives, 200),
    "quickstart-kills": (quickstart_kills, 3),
    "memory-grid": (memory_grid, 36),
    "pii": (pii, 5000),
    "label-errors": (label_errors, 20_000),
    "poisoning": (poisoning, 2),
    "stream": (stream, 300),
    "outliers": (outliers, 6),
    "relevance": (relevance, 4),
    "languages": (languages, 2000),
}


def main() -> int:
    """Run the trials named (all but the quickstart's by default); 1 when any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TRIALS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, help="how many, instead of each trial's own number (0: all there are, where that is a number)")
    parser.add_argument("--quickstart", action="store_true", help="also kill the quickstart (real model, tens of minutes)")
    args = parser.parse_args()
    names = args.names or [n for n in TRIALS if n != "quickstart-kills" or args.quickstart]
    RESULTS.mkdir(exist_ok=True)
    failed = 0
    for name in names:
        work, times = TRIALS[name]
        began = time.monotonic()
        times = times if args.times is None else args.times
        result = {"name": name, "date": time.strftime("%Y-%m-%d"), "seed": args.seed, **work(times, args.seed)}
        result["seconds"] = round(time.monotonic() - began, 1)
        result["cores"] = len(os.sched_getaffinity(0))
        (RESULTS / f"{result['date']}-{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {result['trials']} trials, {len(result['failures'])} failures, {result['seconds']} s", file=sys.stderr)  # noqa: T201
        failed += bool(result["failures"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
