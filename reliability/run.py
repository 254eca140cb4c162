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
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(REPO / "tests"))

sys.path.insert(0, str(REPO / "reliability"))

from memory_grid import memory_grid  # noqa: E402

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
    rng, failures, killed, moments = random.Random(seed), [], 0, []
    with tempfile.TemporaryDirectory(prefix="luthier-reliability-") as name:
        root = Path(name)
        make(root / "clean")
        code, seconds, said = run_whole(root / "clean")
        assert code in (0, 1), said
        wanted = outcome(root / "clean")
        for i in range(times):
            folder = root / (f"killed-{i}" if one_run_each else "killed")
            if not folder.exists():
                make(folder)
            moments.append(round(rng.uniform(0.02, 1.0) * seconds, 3))
            killed += run_killed(folder, moments[-1]) is None
            if one_run_each:
                failures += check_end(folder, wanted, i)
                shutil.rmtree(folder)
        if not one_run_each:
            failures += check_end(root / "killed", wanted, times)
    return {"trials": times, "killed": killed, "whole_run_seconds": round(seconds, 1), "moments_s": moments, "failures": failures}


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


def checkpoint_flips(times: int, seed: int) -> Result:
    """Flip one random bit of a checkpoint at a time: the older one must be used and that be said, each time."""
    import torch

    from luthier.engine.checkpoint.folder import load_newest, save_checkpoint

    rng, missed = random.Random(seed), []
    with tempfile.TemporaryDirectory(prefix="luthier-flips-") as name:
        folder = Path(name)
        generator = torch.Generator().manual_seed(seed)
        for step in (1, 2):
            save_checkpoint(folder, step, {"w": torch.randn(400, generator=generator), "loop": {"step": step}})
        files = [p for p in sorted((folder / "step-000000002").iterdir()) if p.is_file()]
        ends = [sum(f.stat().st_size for f in files[: i + 1]) for i in range(len(files))]
        for _ in range(times):
            place, bit = rng.randrange(ends[-1]), rng.randrange(8)
            i = next(i for i, end in enumerate(ends) if place < end)
            at = place - (ends[i - 1] if i else 0)
            original = files[i].read_bytes()
            files[i].write_bytes(original[:at] + bytes([original[at] ^ (1 << bit)]) + original[at + 1 :])
            found = load_newest(folder)
            if found is None or found.step != 1 or len(found.notes) != 1:
                missed.append({"file": files[i].name, "byte": at, "bit": bit})
            files[i].write_bytes(original)
        whole = load_newest(folder)
        assert whole is not None
        assert whole.step == 2
    return {"trials": times, "bytes": ends[-1], "failures": missed}


def mutated_inputs(times: int, seed: int) -> Result:
    """`check_file` on mutated data files: it must judge each one, and never raise anything but an error of ours."""
    from luthier.core.errors import LuthierError
    from luthier.stages.data.check import check_file

    rng, failures = random.Random(seed), []
    verdicts: Counter[str] = Counter()
    seeds = [p for p in sorted((REPO / "examples").glob("*/data/*")) if p.stat().st_size < 400_000]
    shared = Path(os.environ.get("LUTHIER_SHARED", REPO.parent / "shared")) / "data" / "bad_inputs"
    seeds += [p for p in sorted(shared.rglob("*")) if p.is_file() and p.stat().st_size < 50_000] if shared.is_dir() else []
    with tempfile.TemporaryDirectory(prefix="luthier-fuzz-") as name:
        for i in range(times):
            source = rng.choice(seeds)
            path = Path(name) / f"m{i}{''.join(source.suffixes)}"
            path.write_bytes(mutate(source.read_bytes()[:8000], rng))
            try:
                verdicts[check_file(path).verdict] += 1
            except LuthierError as err:
                verdicts[type(err).__name__] += 1
            except Exception as err:  # noqa: BLE001 - what this trial is looking for
                failures.append({"trial": i, "source": source.name, "error": f"{type(err).__name__}: {err}"[:300]})
            path.unlink()
    return {"trials": times, "seed_files": len(seeds), "verdicts": dict(verdicts), "failures": failures}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few random edits: flips, cuts, repeats, insertions of awkward bytes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + rng.randint(1, 200)]
        elif kind == 2:
            out[at:at] = out[at : at + rng.randint(1, 300)]
        elif kind == 3:
            out[at:at] = rng.choice(
                (b"\x00", b"\xff\xfe", b'"', b"\n", b"\r", b"{", b"[" * 50, "\u202e".encode(), b"1e999", b"NaN", b",", b"\\")
            )
        else:
            del out[at:]
    return bytes(out)


TRIALS: dict[str, tuple[Callable[[int, int], Result], int]] = {
    "toy-kills": (toy_kills, 20),
    "checkpoint-flips": (checkpoint_flips, 1000),
    "mutated-inputs": (mutated_inputs, 5000),
    "quickstart-kills": (quickstart_kills, 3),
    "memory-grid": (memory_grid, 36),
}


def main() -> int:
    """Run the trials named (all but the quickstart's by default); 1 when any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TRIALS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quickstart", action="store_true", help="also kill the quickstart (real model, tens of minutes)")
    args = parser.parse_args()
    names = args.names or [n for n in TRIALS if n != "quickstart-kills" or args.quickstart]
    RESULTS.mkdir(exist_ok=True)
    failed = 0
    for name in names:
        work, times = TRIALS[name]
        began = time.monotonic()
        result = {"name": name, "date": time.strftime("%Y-%m-%d"), "seed": args.seed, **work(times, args.seed)}
        result["seconds"] = round(time.monotonic() - began, 1)
        result["cores"] = len(os.sched_getaffinity(0))
        (RESULTS / f"{result['date']}-{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {result['trials']} trials, {len(result['failures'])} failures, {result['seconds']} s", file=sys.stderr)  # noqa: T201
        failed += bool(result["failures"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
