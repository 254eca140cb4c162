"""The pieces of a run report: estimates, data, lengths, training, candidates, cost, lineage and machine.

One decision: every measured metric is an `Estimate` (value, interval, number of rows), so no view can
print a number without its uncertainty.
"""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

Unit = Literal["share", "number"]
Split = Literal["train", "validation", "test"]


class Part(pydantic.BaseModel):
    """Base of everything in a report: frozen, no unknown fields, no NaN or infinity (JSON has neither)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Part):
    """A measured value with its interval, at `level` confidence, from `n` rows; `method` names the interval."""

    value: float
    low: float
    high: float
    n: int = Field(ge=0)
    level: float = Field(default=0.95, gt=0, lt=1)
    method: str = ""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Estimate:
        if self.low > self.high:
            raise ValueError(f"`low <= high` must hold, got low={self.low} high={self.high}")
        return self


class SourceFile(Part):
    """A file or source that rows came from, and what is known of the right to use it. allows: what the licence allows, in words."""

    file: str
    num_rows: int
    licence: str | None = None
    sha256: str = ""
    allows: str = ""
    consent: str | None = None
    provenance: str | None = None
    permission: str | None = None


class Reason(Part):
    """Why rows ended as they did at a step."""

    fate: Literal["changed", "set aside", "dropped"]
    reason: str
    num_rows: int


class LedgerStep(Part):
    """What became of the rows that reached a step. `kept + changed` rows go on to the next one."""

    step: str
    kept: int = Field(default=0, ge=0)
    changed: int = Field(default=0, ge=0)
    set_aside: int = Field(default=0, ge=0)
    dropped: int = Field(default=0, ge=0)
    reasons: tuple[Reason, ...] = ()

    @property
    def reached(self) -> int:
        """Rows that reached this step."""
        return self.kept + self.changed + self.set_aside + self.dropped


class SplitCount(Part):
    """Rows of a split, and of each class in it (empty where rows have no class)."""

    split: Split
    num_rows: int
    classes: dict[str, int] = {}


class Finding(Part):
    """Something that a check found in the data."""

    level: Literal["info", "warning", "error"] = "info"
    text: str
    num_rows: int | None = None
    where: str = ""


class Data(Part):
    """Where the rows came from and what became of each."""

    sources: tuple[SourceFile, ...] = ()
    ledger: tuple[LedgerStep, ...] = ()
    splits: tuple[SplitCount, ...] = ()
    findings: tuple[Finding, ...] = ()


class Bin(Part):
    """Rows with `low <= tokens < high`."""

    low: int
    high: int
    num_rows: int


class Lengths(Part):
    """Row lengths in tokens, after rendering. `trained_share`: trained tokens / all tokens."""

    histogram: tuple[Bin, ...] = ()
    percentiles: dict[str, int] = Field(default={}, description='tokens by percentile: {"50": 61, "99": 92, "100": 110}')
    max_length: int | None = None
    policy: str = ""
    trained_share: float | None = None
    num_cut: int = 0
    num_dropped: int = 0


class CurvePoint(Part):
    """One point of a learning curve, a line of `metrics.jsonl`. `None` stands for NaN or infinity."""

    step: int
    split: str
    name: str
    value: float | None


class Remedy(Part):
    """A setting to try next, and which way. line: of the project file, as `train.epochs: 2`; empty where there is no one value to try."""

    setting: str
    advice: str
    line: str = ""


class Diagnosis(Part):
    """What the learning curves say: the finding in words, the numbers behind it, and what to try."""

    finding: Literal["healthy", "overfitting", "underfitting", "diverged", "too short to say", "data exhausted", "loss spikes"]
    text: str
    evidence: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()


class SampleAnswer(Part):
    """What the model answered after `step` optimiser steps; step 0 is before training."""

    step: int
    text: str


class Sample(Part):
    """A validation row with the answers to it before, during and after training, as they were generated."""

    key: str
    prompt: str
    reference: str
    answers: tuple[SampleAnswer, ...]


class Training(Part):
    """How the training went. `energy_wh` is an estimate; `peak_memory_mb` is of the whole process."""

    curves: tuple[CurvePoint, ...] = ()
    num_steps: int = 0
    best_step: int | None = None
    stopped: str = ""
    diagnosis: Diagnosis | None = None
    further: tuple[Diagnosis, ...] = Field(default=(), description="what else the curves say, beside the diagnosis")
    samples: tuple[Sample, ...] = Field(default=(), description="the same few validation rows, answered before, during and after training")
    config: dict[str, str | int | float | bool | None] = {}
    engine: str = ""
    tokens_per_second: float | None = None
    seconds: float | None = None
    peak_memory_mb: float | None = None
    energy_wh: float | None = None


class Candidate(Part):
    """A way to answer the task that was measured. `chosen` marks the opponent picked on validation rows."""

    name: str
    role: Literal["baseline", "previous", "tuned"]
    split: Literal["validation", "test"]
    metrics: dict[str, Estimate] = {}
    chosen: bool = False
    note: str = ""


class Look(Part):
    """One evaluation of the sealed rows whose numbers a person could see. run: None for an evaluation or a comparison without one."""

    when: str = Field(description="ISO 8601, UTC")
    run: int | None = None
    reason: str = Field(default="", description="why the rows were looked at again; the first look needs none")

    def words(self) -> str:
        """`run 2 on 2026-03-02 14:07, a longer training`"""
        who = f"run {self.run}" if self.run is not None else "no run"
        return f"{who} on {self.when[:16].replace('T', ' ')}" + (f", {self.reason}" if self.reason else "")


class BarRow(Part):
    """What the objective asks of a metric, and whether the ends of its interval prove it.

    value: of the tuned model; for `no_worse_than` its gain over `against` (above 0 is better), and `bar` is the loss allowed.
    """

    metric: str
    unit: Unit = "share"
    kind: Literal["at_least", "at_most", "no_worse_than"]
    bar: float
    against: str | None = None
    value: Estimate
    outcome: Literal["met", "not met", "not proven"]


class ShiftRow(Part):
    """One model on rows of another kind, or on sealed rows that were changed; `before` is its figure on the rows compared with.

    change: after less before, turned so that below 0 is a loss; None where the right answer may have changed with the text.
    """

    name: str
    kind: Literal["out of domain", "perturbation"]
    model: Literal["tuned", "baseline"]
    before: float
    after: Estimate
    change: Estimate | None = None
    answers_changed: Estimate | None = Field(default=None, description="of a perturbation: the share of rows with another answer")
    num_left_out: int = Field(default=0, description="sealed rows that the perturbation could not change")


class ReliabilityPoint(Part):
    """Sealed rows whose chosen label had a probability in (low, high]: the mean of it, and the share that was right."""

    model: Literal["baseline", "tuned"]
    low: float
    high: float
    num_rows: int
    confidence: float
    right: Estimate


class Confusion(Part):
    """`counts[i][j]`: rows of class `labels[i]` that the tuned model answered with `labels[j]`.

    Answers that are no class go under one label of their own, such as `(no class)`.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @pydantic.model_validator(mode="after")
    def _square(self) -> Confusion:
        n = len(self.labels)
        if len(self.counts) != n or any(len(row) != n for row in self.counts):
            raise ValueError(f"`counts` must be {n} x {n}, one row and one column per label")
        return self


class StageCost(Part):
    """Wall seconds of one stage when it was built; `cached` means that this run reused it."""

    stage: str
    seconds: float
    cached: bool = False


class Cost(Part):
    """What the run took. `tokens` by purpose, such as trained, computed, generated."""

    stages: tuple[StageCost, ...] = ()
    total_seconds: float | None = None
    peak_memory_mb: float | None = None
    tokens: dict[str, int] = {}
    energy_wh: float | None = None


class LineageStep(Part):
    """One artifact of the run: its stage, the first 12 digits of its key, and its inputs' keys."""

    stage: str
    key12: str
    inputs: tuple[str, ...] = ()
    seconds: float | None = None
    cached: bool = False


class Machine(Part):
    """Where the run took place and with which versions."""

    cpu: str = ""
    cores: int | None = None
    memory_gb: float | None = None
    gpu: str | None = None
    system: str = ""
    git_revision: str | None = None
    versions: dict[str, str] = {}
