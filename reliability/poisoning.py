"""Measured recall and false positives of the poisoning scan: 10, 50 and 250 planted rows in 5,000, by kind of trigger.

One decision: the goal (95 % of planted rows found at 1 % of clean rows flagged) is judged for the kinds never looked at, one
number of planted rows at a time; a goal that is not met is a failure and is written down as one. Rows of one trial are found or
missed together, so intervals are over trials.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from poison_plants import PLANTS, plant

from luthier.parts.duplicates.semantic import embedded

REPO = Path(__file__).resolve().parents[1]
NUM_ROWS, NUMBERS = 5000, (10, 50, 250)
RECALL, FALSE = 0.95, 0.01
ENCODER, KNOWN = "minilm-l6", "LUTHIER_POISONING_VECTORS"
DRAWS = 2000
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
    """Every kind in every data set with every number of planted rows: `times` draws of 10 rows, half as many of more."""
    jobs = [
        Job(name, kind.name, num, seed, draw)
        for name in data_sets(seed)
        for kind in PLANTS
        for num in NUMBERS
        for draw in range(times if num == NUMBERS[0] else max(1, times // 2))
    ]
    with tempfile.TemporaryDirectory(prefix="luthier-reliability-") as folder:
        known = Path(folder) / "vectors.npz"
        np.savez(known, **{name: embedded([text for text, _ in rows], ENCODER) for name, rows in data_sets(seed).items()})
        os.environ[KNOWN] = str(known)
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
            trials = list(pool.map(trial, jobs, chunksize=1))
        clean = {}
        for name, rows in data_sets(seed).items():
            flagged = scan(rows, seed)
            clean[name] = {"rows": len(rows), "flagged": len(flagged), "share": round(len(flagged) / len(rows), 5)}
    groups = {group: summary([t for t in trials if t["group"] == group]) for group in ("seen", "figures", "unseen")}
    failures = [
        {"kinds": group, "planted": num, "figure": figure, "value": value}
        for group in ("figures", "unseen")
        for num, half in groups[group].items()
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
        **groups,
        "each": trials,
        "failures": failures,
    }


@cache
def vectors(seed: int) -> dict[str, np.ndarray]:
    """The embeddings of the rows of all data sets, which are the same in every trial."""
    with np.load(os.environ[KNOWN]) as f:
        return {text: vector for name, rows in data_sets(seed).items() for (text, _), vector in zip(rows, f[name], strict=True)}


def scan(rows: Rows, seed: int) -> set[int]:
    """The positions that the scan flags."""
    from luthier.core.records import Example, Message, Source
    from luthier.parts.checks.poisoning import Poisoning

    def embed(texts: list[str]) -> np.ndarray:
        known = vectors(seed)
        new = sorted({t for t in texts if t not in known})
        made = dict(zip(new, embedded(new, ENCODER), strict=True)) if new else {}
        return np.stack([known[t] if t in known else made[t] for t in texts])

    records = [
        Example((Message("user", text), Message("assistant", label)), Source("f", f"row {i}"), label=label)
        for i, (text, label) in enumerate(rows, 1)
    ]
    return {found.row for found in Poisoning(encoder=ENCODER).found(records, embed)}


def trial(job: Job) -> dict[str, Any]:
    """One planting: how many of the planted and of the clean rows are flagged."""
    rows, kind = data_sets(job.seed)[job.data], next(p for p in PLANTS if p.name == job.kind)
    rng = Random(repr(job))
    target = rng.choice(sorted({label for _, label in rows}))
    planted, places = plant(rows, kind, job.num, target, rng)
    began = time.process_time()
    flagged = scan(planted, job.seed)
    return {
        "data": job.data,
        "kind": kind.name,
        "group": kind.group,
        "planted": job.num,
        "found": len(flagged & places),
        "false": len(flagged - places),
        "clean": len(rows) - job.num,
        "seconds": round(time.process_time() - began, 2),
    }


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """By the number of planted rows: recall and false positives over all kinds and data sets, and recall of each kind."""
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
            "trials": len(mine),
            "recall": mean([t["found"] / num for t in mine]),
            "false": mean([t["false"] / t["clean"] for t in mine]),
            "most_false": round(max(t["false"] / t["clean"] for t in mine), 4),
            "recall_by_kind": kinds,
        }
    return out


def mean(shares: list[float]) -> dict[str, float]:
    """The mean of the trials' shares with a 95 % interval: the percentiles of 2,000 resamples of trials."""
    values = np.array(shares)
    draws = values[np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))].mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}
