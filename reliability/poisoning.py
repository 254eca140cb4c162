"""Measured recall and false positives of the poisoning scan: 10, 50 and 250 planted rows in 5,000, by kind of trigger.

One decision: the goal (95 % of planted rows found at 1 % of clean rows flagged) is judged for the kinds never looked at, one
number of planted rows at a time; a goal that is not met is a failure and is written down as one.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from poison_plants import PLANTS, plant

REPO = Path(__file__).resolve().parents[1]
NUM_ROWS, NUMBERS = 5000, (10, 50, 250)
RECALL, FALSE = 0.95, 0.01
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Job:
    """One trial: the data set, the kind of trigger by name, the number of planted rows, the seed of the data, the draw."""

    data: str
    kind: str
    num: int
    seed: int
    draw: int


@cache
def data_sets(seed: int) -> dict[str, Rows]:
    """5,000 rows of each data set: (text, label)."""
    folder = Path(os.environ.get("LUTHIER_SHARED", REPO.parent / "shared")) / "data" / "classification"
    sst2 = [json.loads(line) for line in (folder / "sst2_train.jsonl").read_text(encoding="utf-8").splitlines()]
    with gzip.open(folder / "banking77_train.jsonl.gz", "rt", encoding="utf-8") as f:
        banking = [json.loads(line) for line in f]
    sets = {
        "sst2": [(str(r["text"]), str(r["label"])) for r in sst2],
        "banking77": [(str(r["text"]), str(r["category"])) for r in banking],
    }
    return {name: Random(seed).sample(rows, min(NUM_ROWS, len(rows))) for name, rows in sets.items()}


def poisoning(times: int, seed: int) -> dict[str, Any]:
    """Every kind in every data set with every number of planted rows, `times` draws of each."""
    jobs = [
        Job(name, kind.name, num, seed, draw) for name in data_sets(seed) for kind in PLANTS for num in NUMBERS for draw in range(times)
    ]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        trials = list(pool.map(trial, jobs, chunksize=1))
    clean = {}
    for name, rows in data_sets(seed).items():
        flagged = scan(rows)
        clean[name] = {"rows": len(rows), "flagged": len(flagged), "share": round(len(flagged) / len(rows), 5)}
    halves = {"seen": summary([t for t in trials if t["seen"]]), "unseen": summary([t for t in trials if not t["seen"]])}
    failures = [
        {"planted": num, "figure": figure, "value": value}
        for num, half in halves["unseen"].items()
        for figure, value, good in (
            ("recall", half["recall"]["value"], half["recall"]["value"] >= RECALL),
            ("false positives", half["false"]["value"], half["false"]["value"] <= FALSE),
        )
        if not good
    ]
    return {
        "trials": len(trials),
        "goal": {"recall": RECALL, "false": FALSE},
        "clean": clean,
        **halves,
        "each": trials,
        "failures": failures,
    }


def scan(rows: Rows) -> set[int]:
    """The positions that the scan flags."""
    from luthier.core.records import Example, Message, Source
    from luthier.parts.checks.poisoning import Poisoning

    records = [
        Example((Message("user", text), Message("assistant", label)), Source("f", f"row {i}"), label=label)
        for i, (text, label) in enumerate(rows, 1)
    ]
    return {found.row for found in Poisoning()(records)}


def trial(job: Job) -> dict[str, Any]:
    """One planting: how many of the planted and of the clean rows are flagged."""
    rows, kind = data_sets(job.seed)[job.data], next(p for p in PLANTS if p.name == job.kind)
    rng = Random(repr(job))
    target = rng.choice(sorted({label for _, label in rows}))
    planted, places = plant(rows, kind, job.num, target, rng)
    began = time.process_time()
    flagged = scan(planted)
    return {
        "data": job.data,
        "kind": kind.name,
        "seen": kind.seen,
        "planted": job.num,
        "found": len(flagged & places),
        "false": len(flagged - places),
        "clean": len(rows) - job.num,
        "seconds": round(time.process_time() - began, 2),
    }


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """By the number of planted rows: recall and false positives over all kinds and data sets, and recall of each kind."""
    from luthier.stats.intervals import wilson

    def rate(successes: int, n: int) -> dict[str, float]:
        e = wilson(successes, n)
        return {"value": round(e.value, 4), "low": round(e.low, 4), "high": round(e.high, 4)}

    out: dict[str, Any] = {}
    for num in NUMBERS:
        mine = [t for t in trials if t["planted"] == num]
        kinds: dict[str, Any] = {}
        for kind in dict.fromkeys(t["kind"] for t in mine):
            of = [t for t in mine if t["kind"] == kind]
            kinds[kind] = {
                t["data"]: round(sum(u["found"] for u in of if u["data"] == t["data"]) / sum(num for u in of if u["data"] == t["data"]), 3)
                for t in of
            }
        out[str(num)] = {
            "recall": rate(sum(t["found"] for t in mine), sum(t["planted"] for t in mine)),
            "false": rate(sum(t["false"] for t in mine), sum(t["clean"] for t in mine)),
            "recall_by_kind": kinds,
        }
    return out
