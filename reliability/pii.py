"""Measured precision and recall of the personal-data rules on the gold set, by kind, with Wilson intervals.

One decision: the figures that count are those of the families never looked at while building; a kind of structured
data below 0.98 there is a failure and is written down as one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata
from random import Random
from typing import Any

from pii_gold import Item, gold_set
from pii_names import names

Found = list[tuple[str, int, int]]
GOAL = 0.98


def pii(times: int, seed: int) -> dict[str, Any]:
    """The fast path on `times` items; failures are halves of the gold set below the goal."""
    from luthier.parts.privacy.find import find_values
    from luthier.parts.privacy.rule import KINDS

    def fast(text: str) -> Found:
        return [(value.kind, value.start, value.end) for value in find_values(text)]

    def all_kinds(text: str) -> Found:
        return [(value.kind, value.start, value.end) for value in find_values(text, KINDS)]

    items = gold_set(times, seed)
    began = time.process_time()
    halves = {name: measured([i for i in items if i.seen == seen], fast) for name, seen in (("seen", True), ("unseen", False))}
    seconds = time.process_time() - began
    rest = {
        "ms_per_item": round(1000 * seconds / len(items), 3),
        **halves,
        "names": names(all_kinds, _rates, seed),
        "thorough": thorough(items),
    }
    failures = [
        {"family": "unseen", "figure": figure, "value": halves["unseen"]["all"][figure]["value"]}
        for figure in ("precision", "recall")
        if halves["unseen"]["all"][figure]["value"] < GOAL
    ]
    return {"trials": len(items), "goal": GOAL, "fast": rest, "failures": failures}


def thorough(items: Sequence[Item], num_items: int = 1000) -> dict[str, Any] | str:
    """Presidio alone, and the rules with presidio, on a sample of the unseen items; why not, where it is not installed."""
    try:
        version = metadata.version("presidio-analyzer")
    except metadata.PackageNotFoundError:
        return "presidio-analyzer is not installed (luthier[pii])"
    from luthier.parts.privacy.thorough import Thorough

    unseen = [i for i in items if not i.seen]
    sample = Random(0).sample(unseen, min(num_items, len(unseen)))
    both, began = Thorough(), time.process_time()
    alone = measured(sample, lambda text: [(value.kind, value.start, value.end) for value in both.presidio(text)])
    seconds = time.process_time() - began
    together = measured(sample, lambda text: [(value.kind, value.start, value.end) for value in both(text)])
    return {
        "version": version,
        "items": len(sample),
        "ms_per_item": round(1000 * seconds / len(sample), 2),
        "presidio_alone": {"all": alone["all"], "by_kind": alone["by_kind"]},
        "rules_and_presidio": {"all": together["all"], "by_kind": together["by_kind"]},
    }


def measured(items: Sequence[Item], find: Callable[[str], Found]) -> dict[str, Any]:
    """Precision and recall, all and by kind, and the families that have errors (by name and count alone)."""
    hits: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    false: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for item in items:
        found = find(item.text)
        if item.kind:
            wanted[item.kind] += 1
            hit = (item.kind, item.start, item.end) in found
            hits[item.kind] += hit
            missed[item.family] += not hit
        extra = [f for f in found if f != (item.kind, item.start, item.end)]
        false.update(kind for kind, _, _ in extra)
        wrong[item.family] += bool(extra)
    kinds = {kind: _rates(hits[kind], wanted[kind], false[kind]) for kind in sorted(wanted | false)}
    return {
        "all": _rates(sum(hits.values()), sum(wanted.values()), sum(false.values())),
        "by_kind": kinds,
        "families_with_misses": dict((+missed).most_common()),
        "families_with_false_positives": dict((+wrong).most_common()),
    }


def _rates(hits: int, wanted: int, false: int) -> dict[str, Any]:
    return {"wanted": wanted, "found": hits, "false": false, "precision": _rate(hits, hits + false), "recall": _rate(hits, wanted)}


def _rate(successes: int, n: int) -> dict[str, float] | None:
    from luthier.stats.intervals import wilson

    if not n:
        return None
    estimate = wilson(successes, n)
    return {"value": round(estimate.value, 4), "low": round(estimate.low, 4), "high": round(estimate.high, 4)}
