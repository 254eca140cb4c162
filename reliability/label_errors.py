"""How well wrong labels are found: IMDB's against human votes, and flips planted in Banking77 and SST-2.

One decision: a vote counts as a confirmed error when three or more of five people did not choose the given label; planted
flips are drawn uniformly over rows and over the other labels, and everything else that is flagged counts as false.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

REPO = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("LUTHIER_SHARED", REPO.parent / "shared")) / "data"
SHARE = 0.05
TOPS = (100, 500)


def label_errors(times: int, seed: int) -> dict[str, Any]:
    """`times`: at most so many rows of each planted set. There is no bar to miss: the figures are the result."""
    votes = imdb()
    planted = {name: flips(*rows, times, seed) for name, rows in (("banking77", banking77()), ("sst2", sst2()))}
    return {"trials": votes["rows"] + sum(p["rows"] for p in planted.values()), "imdb": votes, "planted": planted, "failures": []}


def rate(successes: int, n: int) -> dict[str, Any]:
    """A proportion with its Wilson interval."""
    from luthier.stats.intervals import wilson

    e = wilson(successes, n)
    return {"of": n, "value": round(e.value, 4), "low": round(e.low, 4), "high": round(e.high, 4)}


def imdb() -> dict[str, Any]:
    """Precision on the published out-of-sample probabilities of IMDB's test set, among the suspected rows that people voted on."""
    from luthier.parts.labels.confident import likely_errors

    place = DATA / "noisy"
    labels = np.load(place / "label_errors_imdb_labels.npy", allow_pickle=False).astype(np.int64)
    shares = np.load(place / "label_errors_imdb_pyx.npy", allow_pickle=False)
    voted = {v["index"]: v["mturk"]["given"] <= 2 for v in _lines(place / "label_errors_imdb_mturk.jsonl")}
    found = likely_errors(labels, shares).tolist()
    seen = [voted[i] for i in found if i in voted]
    return {
        "rows": len(labels),
        "flagged": len(found),
        "voted": len(seen),
        "precision": rate(sum(seen), len(seen)),
        **{f"precision_first_{k}": rate(sum(seen[:k]), k) for k in TOPS},
        "voted_confirmed": sum(voted.values()),
        "recall_of_confirmed": rate(sum(seen), sum(voted.values())),
    }


def flips(texts: list[str], names: list[str], times: int, seed: int) -> dict[str, Any]:
    """Recall and precision on labels of which 5 % are flipped, with the check's own settings."""
    from luthier.core.records import Example, Message, Source
    from luthier.parts.checks.label_errors import LabelErrors

    rng = np.random.default_rng(seed)
    picked = rng.permutation(len(texts))[:times]
    kinds = sorted(set(names))
    right = np.array([kinds.index(names[i]) for i in picked])
    given = right.copy()
    wrong = rng.choice(len(given), round(SHARE * len(given)), replace=False)
    given[wrong] = (given[wrong] + rng.integers(1, len(kinds), len(wrong))) % len(kinds)
    rows = [
        Example((Message("user", texts[i]), Message("assistant", kinds[y])), Source("planted", f"row {at}"), label=kinds[y])
        for at, (i, y) in enumerate(zip(picked, given, strict=True))
    ]
    judgement = LabelErrors().judge(rows)
    planted = set(wrong.tolist())
    hits = [e.row in planted for e in judgement.errors]
    mended = [e.suggested == kinds[right[e.row]] for e in judgement.errors if e.row in planted]
    first = len(planted)
    return {
        "rows": len(rows),
        "labels": len(kinds),
        "planted": len(planted),
        "flagged": len(hits),
        "agreement": rate(judgement.agreeing, judgement.judged),
        "recall": rate(sum(hits), len(planted)),
        "precision": rate(sum(hits), len(hits)),
        **{f"precision_first_{k}": rate(sum(hits[:k]), k) for k in (*TOPS, first) if len(hits) >= k},
        "suggestion_right": rate(sum(mended), len(mended)),
    }


def banking77() -> tuple[list[str], list[str]]:
    """The training rows: texts and intents."""
    with gzip.open(DATA / "classification" / "banking77_train.jsonl.gz", "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    return [r["text"] for r in rows], [r["category"] for r in rows]


def sst2() -> tuple[list[str], list[str]]:
    """The training sentences: texts and labels."""
    rows = _lines(DATA / "classification" / "sst2_train.jsonl")
    return [r["text"] for r in rows], [str(r["label"]) for r in rows]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
