"""W7, scoring choices: lm-evaluation-harness's HF backend at its default, at its best, and Luthier. Usage: scoring.py choices-5shot

One decision: no ratio is printed unless the log-likelihoods of the rows that both arms did agree: greedy flags equal, 1e-4 for
each scored token against the float32 peer, and 1e-4 for a whole choice against the peer in float64 (the float32 peer itself is
up to 1.4e-4 from that on a long label). The peer's best is the fastest of the declared settings, found in this run.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from plots import bars

from luthier.engine.models.resolve import resolve

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venvs" / "lm-eval"
Run = dict[str, Any]
Rows = list[tuple[str, list[str]]]
BATCHES = (1, 8, 16, 32)
LIMIT = 1e-4
INSTRUCTION = "Classify the customer's banking query into exactly one intent. Intents: "


def install_peer() -> Path:
    """The peer in its own environment, with the same torch."""
    python = VENV / "bin" / "python"
    if not (VENV / "installed").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        wanted = ["torch==2.13.0", "lm-eval==0.4.13", "transformers", "accelerate", "peft"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-c", str(HERE.parent / "constraints.txt"), *wanted], check=True)
        (VENV / "installed").write_text("ok")
    return python


def make_rows(name: str, data: Path, count: int) -> Rows:
    """Banking77 rows as (context, choices). Few-shot examples are drawn for each row, as the harness draws them."""
    with gzip.open(data / "classification" / "banking77_train.jsonl.gz", "rt", encoding="utf-8") as f:
        found = [(r["text"], r["category"].replace("_", " ")) for r in map(json.loads, f)]
    labels, draw = sorted({label for _, label in found}), random.Random(0)
    draw.shuffle(found)
    out: Rows = []
    for text, label in found[:count]:
        shots = draw.sample(found[count:], 5) if name == "choices-5shot" else []
        head = f"{INSTRUCTION}{', '.join(labels)}\n\n" if name == "labels-instructed" else ""
        context = head + "".join(f"Query: {t}\nIntent: {y}\n\n" for t, y in shots) + f"Query: {text}\nIntent:"
        others = draw.sample([y for y in labels if y != label], 3)
        chosen = sorted([label, *others]) if name.startswith("choices") else labels
        out.append((context, [f" {y}" for y in chosen]))
    return out


WORKLOADS = {"choices-0shot": (64, 64), "choices-5shot": (32, 32), "labels": (60, 10), "labels-instructed": (20, 1)}
"""Rows for Luthier, and for the peer (its first rows are the same)."""


class Failed(Exception):
    """An arm that ended without a result, most often because it did not fit the memory or the time."""


class Bench:
    """One workload."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.number = options, folder, 0
        self.rows = make_rows(options.workload, options.data, options.rows)
        self.base: Run = {"model": str(resolve("smollm2-135m-instruct").folder), "threads": options.threads}

    def arm(self, arm: str, rows: Rows, batch_size: int | str = 1, dtype: str = "float32") -> Run:
        """A fresh process over `rows`; its memory is bounded, so that a setting that does not fit fails alone."""
        self.number += 1
        path, out = (self.folder / f"{kind}-{self.number}.json" for kind in ("job", "out"))
        path.write_text(json.dumps({**self.base, "arm": arm, "rows": rows, "batch_size": batch_size, "dtype": dtype}))
        python = Path(sys.executable) if arm == "luthier" else install_peer()
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(self.options.threads)}
        load, limit = os.getloadavg()[0], int(self.options.memory * 2**30)
        command = [str(python), str(HERE / "arm_scoring.py"), str(path), str(out)]

        def bounded() -> None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

        try:
            done = subprocess.run(command, env=env, preexec_fn=bounded, capture_output=True, text=True, timeout=self.options.timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"no result after {self.options.timeout} s") from None
        if done.returncode != 0 or not out.is_file():
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise Failed(said[-1][:300] if said else f"exit code {done.returncode}")
        return {**json.loads(out.read_text()), "load": load, "rows": len(rows)}

    def search(self, rows: Rows) -> list[Run]:
        """Every declared batch size of the peer on `rows`."""
        tried: list[Run] = []
        for size in BATCHES:
            try:
                done = self.arm("hf", rows, size)
                tried.append({"batch_size": size, "seconds": done["seconds"], "peak_mb": done["peak_mb"]})
            except Failed as err:
                tried.append({"batch_size": size, "failed": str(err)})
            print("search", tried[-1], flush=True)
        return tried


def difference(theirs: Run, ours: Run) -> Run:
    """Over the choices that both did: largest difference of a choice, of a choice over its tokens, and greedy flags that differ."""
    num = len(theirs["logprobs"])
    gaps = [abs(a - b) for a, b in zip(theirs["logprobs"], ours["logprobs"][:num], strict=True)]
    flags = sum(a != b for a, b in zip(theirs["greedy"], ours["greedy"][:num], strict=True))
    if theirs["tokens"] != ours["tokens"][:num]:
        raise SystemExit("void: the arms do not score the same tokens")
    each = max(g / n for g, n in zip(gaps, theirs["tokens"], strict=True))
    return {"choices": num, "largest_difference": max(gaps), "per_token": each, "greedy_flags_that_differ": flags}


def check_equal(what: str, found: Run, key: str) -> None:
    if found[key] > LIMIT or found["greedy_flags_that_differ"]:
        raise SystemExit(f"void: {what} differs from Luthier: {found}")


def summary(runs: list[Run]) -> Run:
    rates = [run["rows"] / run["seconds"] for run in runs]
    kept = {"rows_per_second": statistics.median(rates), "least": min(rates), "most": max(rates), "rows": runs[0]["rows"]}
    kept["peak_mb"] = max(run["peak_mb"] for run in runs)
    kept["machine_load"] = max(run["load"] for run in runs)
    return {**kept, "seconds": [r["seconds"] for r in runs], "load_seconds": [r["load_seconds"] for r in runs], "torch": runs[0]["torch"]}


def measure(bench: Bench) -> Run:
    """Search, gate in float64, then the arms in turn."""
    options = bench.options
    few = bench.rows[: options.peer_rows]
    tried = bench.search(few[: options.search_rows])
    worked = [t for t in tried if "seconds" in t]
    if not worked:
        raise SystemExit(f"void: no setting of the peer gave a result: {tried}")
    best = min(worked, key=lambda t: t["seconds"])["batch_size"]
    judged = difference(bench.arm("hf", few[:1], 8, "float64"), bench.arm("luthier", few[:1]))
    check_equal("the peer in float64", judged, "largest_difference")
    arms: dict[str, int | str] = {"lm-eval best": best, "lm-eval default": 1}
    if best == 1:
        del arms["lm-eval default"]
    runs: dict[str, list[Run]] = {arm: [] for arm in ("luthier", *arms)}
    for _ in range(options.repeats):
        for arm, found in runs.items():
            found.append(bench.arm("luthier", bench.rows) if arm == "luthier" else bench.arm("hf", few, arms[arm]))
            print(arm, f"{found[-1]['rows'] / found[-1]['seconds']:.3f} rows/s, {found[-1]['peak_mb']:.0f} MB", flush=True)
    equal = {arm: difference(runs[arm][0], runs["luthier"][0]) for arm in arms}
    for arm, found in equal.items():
        check_equal(arm, found, "per_token")
    made = {arm: summary(found) for arm, found in runs.items()}
    ratios = {arm: {k: made["luthier"][v] / made[arm][v] for k, v in (("speed", "rows_per_second"), ("memory", "peak_mb"))} for arm in arms}
    return {"arms": made, "ratios": ratios, "best_batch_size": best, "searched": tried, "float64": judged, "equality": equal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--rows", type=int, default=0, help="rows of Luthier's arm")
    parser.add_argument("--peer-rows", type=int, default=0, help="rows of the peer's arms: the first ones of the same")
    parser.add_argument("--search-rows", type=int, default=4, help="rows on which the peer's batch sizes are tried")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=float, default=20.0, help="GiB that an arm may take")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds that an arm may take")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    options.rows = options.rows or WORKLOADS[options.workload][0]
    options.peer_rows = min(options.peer_rows or WORKLOADS[options.workload][1], options.rows)
    with tempfile.TemporaryDirectory() as name:
        try:
            made = measure(Bench(options, Path(name)))
        except Failed as err:
            raise SystemExit(f"void: an arm gave no result: {err}") from None
    shown = {k: v for k, v in vars(options).items() if k not in ("data", "out")}
    today = datetime.date.today().isoformat()
    stem = options.out / f"{today}-W7-{options.workload}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps({"date": today, "settings": shown, **made}, indent=1) + "\n")
    bars(made["arms"], f"W7 {options.workload}: rows per second, median and range", stem.with_suffix(".svg"))
    for arm, ratio in made["ratios"].items():
        print(f"W7 {options.workload}: {ratio['speed']:.2f}x {arm}, memory {ratio['memory']:.2f} of it")


if __name__ == "__main__":
    main()
