"""Every tuning method on real rows: quality with its interval, trained parameters, memory, time. Usage: methods.py --steps 24 --rows 100

One decision: each method has a process of its own, so its peak memory is its own, and its rate is the one that suits it, fixed
here before anything was measured. Rows are ten intents of Banking77; answers are chosen over the ten labels' log-probabilities.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
INTENTS = 10
RATES: dict[str, tuple[dict[str, Any], float]] = {
    "lora": ({"rank": 16}, 1e-3),
    "dora": ({"rank": 16}, 1e-3),
    "qlora": ({"rank": 16, "stored": "nf4"}, 1e-3),
    "ia3": ({}, 1e-2),
    "bottleneck": ({"size": 32}, 1e-3),
    "bitfit": ({"create": True}, 3e-3),
    "prompt": ({"tokens": 20}, 1e-2),
    "prefix": ({"tokens": 20}, 3e-3),
    "last_layers": ({"layers": 4}, 2e-4),
    "full": ({}, 5e-5),
}
"""Settings and learning rate of each method."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LUTHIER_SHARED", HERE.parent.parent / "shared")) / "data")
    parser.add_argument("--steps", type=int, default=24, help="optimiser steps of 16 rows")
    parser.add_argument("--rows", type=int, default=100, help="test rows")
    parser.add_argument("--methods", nargs="*", default=["base", *RATES])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--out", type=Path, default=HERE / "results", help="what is there of the same day and settings is not measured again"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given)))
        return 0
    out = given.out / f"{datetime.date.today().isoformat()}-methods.json"
    facts = {"rows": given.rows, "steps": given.steps, "threads": given.threads, "intents": INTENTS}
    before = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"settings": facts}
    known = {f["method"]: f for f in before.get("methods", ())} if before["settings"] == facts else {}
    for kind in given.methods:
        if kind not in known:
            known[kind] = {**run_one(kind, given), "load": os.getloadavg()[0]}
            out.write_text(json.dumps({"settings": facts, "methods": list(known.values())}, indent=1) + "\n", encoding="utf-8")
    print(table([known[kind] for kind in given.methods]))
    print(f"written to {out}", file=sys.stderr)
    return 0


def run_one(kind: str, given: argparse.Namespace) -> dict[str, Any]:
    """One method in a fresh process."""
    command = [sys.executable, __file__, "--one", kind, "--data", str(given.data), "--steps", str(given.steps), "--rows", str(given.rows)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(given.threads)}
    done = subprocess.run([*command, "--threads", str(given.threads)], env=env, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found), file=sys.stderr)
    return found


def banking(data: Path, part: str) -> list[tuple[str, str]]:
    """(text, label) of the first ten intents in alphabetical order, in an order fixed by a seed."""
    path = data / "classification" / f"banking77_{part}.jsonl"
    with path.open(encoding="utf-8") if path.exists() else gzip.open(f"{path}.gz", "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    key = "category" if "category" in rows[0] else "label"
    wanted = sorted({str(r[key]) for r in rows})[:INTENTS]
    chosen = [(r["text"], str(r[key])) for r in rows if str(r[key]) in wanted]
    random.Random(0).shuffle(chosen)
    return chosen


def measure(kind: str, given: argparse.Namespace) -> dict[str, Any]:
    """Train on `steps` x 16 rows, then answer `rows` test rows. kind: a method, or `base` for no training."""
    from luthier.core.execution import Execution
    from luthier.engine.models.resolve import resolve
    from luthier.engine.select import load_engine
    from luthier.engine.text.renderer import Renderer
    from luthier.parts.methods.loading import known_methods
    from luthier.stats.intervals import wilson

    folder = resolve("smollm2-135m-instruct", allow_network=False).folder
    renderer, train = Renderer.from_model(folder), banking(given.data, "train")
    labels = sorted({label for _, label in train})
    settings, rate = RATES.get(kind, ({}, 0.0))
    spec = None if kind == "base" else known_methods()[kind](**settings).spec()
    engine = load_engine(folder, spec, Execution(threads=given.threads), 13)
    started = time.perf_counter()
    if spec is not None:
        fit(engine, renderer, train, given.steps, rate)
    seconds, peak = time.perf_counter() - started, peak_bytes()
    right = accuracy(engine, renderer, banking(given.data, "test")[: given.rows], labels)
    interval = wilson(sum(right), len(right))
    with tempfile.TemporaryDirectory() as aside:
        if spec is not None:
            engine.save_adapter(Path(aside))
        stored = sum(p.stat().st_size for p in Path(aside).iterdir())
    return {
        "method": kind, "settings": settings, "learning_rate": rate, "engine": engine.name, "trained": engine.num_trainable,
        "accuracy": interval.value, "low": interval.low, "high": interval.high, "rows": len(right),
        "seconds_per_step": seconds / given.steps if spec else 0.0, "peak_gb": peak / 2**30, "adapter_mb": stored / 2**20,
    }  # fmt: skip


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def messages(text: str, labels: list[str]) -> Any:
    from luthier.core.records import Message

    return (Message("system", "Answer with the intent of the message. Intents: " + ", ".join(labels)), Message("user", text))


def fit(engine: Any, renderer: Any, rows: list[tuple[str, str]], steps: int, rate: float) -> None:
    """Warm-up over a tenth of the steps, then down to nothing linearly."""
    from luthier.core.records import Message
    from luthier.engine.contract import Batch, TokenSequence
    from luthier.parts.losses.sft import SFT

    labels = sorted({label for _, label in rows})
    for step in range(steps):
        chosen = [rows[i % len(rows)] for i in range(16 * step, 16 * step + 16)]
        rendered = [renderer.render((*messages(text, labels), Message("assistant", label)), ()) for text, label in chosen]
        sequences = tuple(TokenSequence(r.tokens, r.weights) for r in rendered)
        engine.forward_backward(Batch(sequences, float(sum(s.weights.sum() for s in sequences))), SFT())
        engine.optim_step(rate * min((step + 1) / max(1, steps // 10), (steps - step) / steps))


def accuracy(engine: Any, renderer: Any, rows: list[tuple[str, str]], labels: list[str]) -> list[bool]:
    """Whether the most probable label is the right one, row by row."""
    from luthier.engine.predictor import target_sequence

    answers = [renderer.completion(label) for label in labels]
    sequences = [target_sequence(renderer.prompt(messages(text, labels)), answer) for text, _ in rows for answer in answers]
    scores = np.array([float(found.sum()) for found in engine.logprobs(sequences)]).reshape(len(rows), len(labels))
    return [labels[int(row.argmax())] == label for row, (_, label) in zip(scores, rows, strict=True)]


def table(found: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    head = "| method | accuracy (95 % interval) | trained values | peak memory | a step | adapter | engine |\n|---|---|---|---|---|---|---|"
    rows = [
        f"| `{f['method']}` | {100 * f['accuracy']:.1f} % ({100 * f['low']:.1f} to {100 * f['high']:.1f}) | {f['trained']:,} | "
        f"{f['peak_gb']:.2f} GB | {f['seconds_per_step']:.2f} s | {f['adapter_mb']:.1f} MB | {f['engine']} |"
        for f in found
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    raise SystemExit(main())
