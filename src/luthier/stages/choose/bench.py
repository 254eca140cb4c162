"""The table of a comparison of candidates: each with its quality, its cost and its group, and who lies on the Pareto front.

One decision: a candidate is on the front when no other is at least as good and as fast and better in one; which of
two is better is a matter of the figures, whether they can be told apart is a matter of the groups, and both are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import pydantic
from pydantic import Field

from luthier.core.config import Config
from luthier.report.sections import Unit

if TYPE_CHECKING:
    from luthier.stats.groups import Comparison

Family = Literal["prompted", "tuned", "classical"]


class BenchPlan(Config):
    """What `luthier bench` and `luthier plan --probe` compare, and what is good enough."""

    bases: tuple[str, ...] = Field(default=(), description="further bases; minilm-l6 is added by itself where rows have one label each")
    encoder: str = Field(default="minilm-l6", description="whose embeddings the neighbours and the linear head read")
    tune: bool = Field(default=True, description="tune each base for a short while")
    steps: int = Field(default=40, ge=1, le=10_000, description="most optimiser steps of a short tune of a model that writes text")
    encoder_epochs: float = Field(default=4, gt=0, le=100, description="epochs of a short tune of an encoder")
    timed_rows: int = Field(default=20, ge=6, le=1000, description="rows timed one by one for each candidate")
    at_least: float | None = Field(
        default=None, description="the value of the deciding metric that is good enough; the objective's bar when not given"
    )
    worth: float = Field(default=0.02, ge=0, lt=1, description="the smallest gain of the deciding metric that a tuned model is worth")
    price_per_hour: float | None = Field(default=None, ge=0, description="what an hour of this machine costs, in any currency")


class BenchRow(pydantic.BaseModel):
    """One candidate. Quality on validation rows; cost of a row answered alone on this machine. None: it has no such figure.

    energy_wh_per_1000: at 10 W for a busy core. perplexity, bits_per_character: of the rows' own text under a decoder, each value, low and
    high. fits_use: whether the base's licence allows the intended use, None where that is not known or no base is in it; licence_fit: in
    words. front: no other candidate is as good and as fast. group_letters: candidates that share
    a letter cannot be told apart. train_seconds: of its short tune, or of fitting it.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str
    family: Family
    base: str | None
    value: float
    low: float
    high: float
    latency_ms: float
    latency_low: float
    latency_high: float
    peak_memory_mb: float
    size_mb: float
    energy_wh_per_1000: float
    cost_per_1000: float | None
    train_seconds: float
    tokens_per_character: float | None
    context_length: int | None
    licence: str
    fits_use: bool | None = None
    licence_fit: str = ""
    perplexity: dict[str, float] | None = None
    bits_per_character: dict[str, float] | None = None
    front: bool = False
    group_letters: str = ""


class Skipped(pydantic.BaseModel):
    """A candidate that does not fit the task or the rows, and why."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str
    reason: str


class BenchTable(pydantic.BaseModel):
    """Candidates from best to worst, which pairs differ, and what that means in words."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    metric: str
    unit: Unit = "share"
    num_rows: int
    num_training_rows: int
    alpha: float
    machine: str
    measured: str
    rows: tuple[BenchRow, ...]
    pairs: tuple[dict[str, Any], ...]
    groups: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()

    def row(self, name: str) -> BenchRow:
        """The candidate of that name."""
        return next(r for r in self.rows if r.name == name)

    def pair(self, a: str, b: str) -> dict[str, Any]:
        """a against b: effect, low, high, p, adjusted; turned round where the table has b against a."""
        for p in self.pairs:
            if (p["first"], p["second"]) == (a, b):
                return p
            if (p["first"], p["second"]) == (b, a):
                return {**p, "first": a, "second": b, "effect": -p["effect"], "low": -p["high"], "high": -p["low"]}
        raise KeyError((a, b))

    def differ(self, a: str, b: str) -> bool:
        """Whether the two can be told apart."""
        return self.pair(a, b)["adjusted"] < self.alpha


def ranked(rows: Sequence[BenchRow], comparison: Comparison) -> tuple[BenchRow, ...]:
    """Best first, with the Pareto front marked and a letter for each group."""
    by_name = {row.name: row for row in rows}
    letters = {name: "".join(letter(i) for i, g in enumerate(comparison.groups) if name in g) for name in by_name}
    front = pareto(rows)
    return tuple(by_name[n].model_copy(update={"front": n in front, "group_letters": letters[n]}) for n in comparison.ranked)


def pareto(rows: Sequence[BenchRow]) -> set[str]:
    """Names on the front of quality (high) against latency (low)."""
    return {
        r.name
        for r in rows
        if not any(o.value >= r.value and o.latency_ms <= r.latency_ms and (o.value > r.value or o.latency_ms < r.latency_ms) for o in rows)
    }


def letter(number: int) -> str:
    """a, b ... z, then A, B ...: the name of a group."""
    return "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 52]


def in_words(comparison: Comparison, rows: Sequence[BenchRow], metric: str) -> tuple[str, ...]:
    """The best, the groups, and the cheapest of those that the best cannot be told apart from."""
    by_name = {r.name: r for r in rows}
    best = by_name[comparison.ranked[0]]
    metric = metric.replace("_", " ")
    out = [f"{best.name} has the highest {metric}: {best.value:.3f} ({best.low:.3f} to {best.high:.3f} on {comparison.num_rows:,} rows)"]
    out += comparison.sentences()
    equals = [n for n in comparison.ranked if n == best.name or not comparison.differ(best.name, n)]
    fastest = min((by_name[n] for n in equals), key=lambda r: r.latency_ms)
    if fastest.name != best.name:
        times = _times(best.latency_ms / fastest.latency_ms)
        out.append(f"of those that cannot be told apart from the best, {fastest.name} is the fastest: {times} as fast as {best.name}")
    return tuple(out)


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"
