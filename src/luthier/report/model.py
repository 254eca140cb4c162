"""What a run's report says: the published contract of `report.json` (kind `run_report`, version 1).

One decision: everything that a page, a card or a terminal shows is in this document and nothing else is,
so whoever holds `report.json` can draw the report again. A thing that was not measured is `None` or empty,
and every view then says "not measured".
"""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

from luthier.report.sections import (
    BarRow,
    Candidate,
    Confusion,
    Cost,
    Data,
    Estimate,
    Lengths,
    LineageStep,
    Look,
    Machine,
    Part,
    ReliabilityPoint,
    ShiftRow,
    Training,
    Unit,
)
from luthier.report.side_effects import SideEffect, SideEffects

Decision = Literal["better", "not proven", "worse"]


class Verdict(Part):
    """The paired comparison on sealed rows. `effect` = tuned - baseline, turned so that above 0 is a gain."""

    decision: Decision
    metric: str
    baseline: float
    tuned: float
    effect: float
    interval: tuple[float, float]
    p: float = Field(ge=0, le=1)
    test: str
    num_rows: int = Field(ge=0)
    minimum_detectable_effect: float = Field(description="smallest gain that this many rows show at 80% power; 1.0: none")
    looks: int = Field(ge=0, description="evaluations of these sealed rows whose numbers a person could see, this one included")
    alpha: float = Field(default=0.05, gt=0, lt=1)
    sentence: str = Field(default="", description="the verdict stage's own words; pages write their headline from the numbers")

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Verdict:
        if self.interval[0] > self.interval[1]:
            raise ValueError(f"`interval` must be [low, high], got {list(self.interval)}")
        return self


class Run(Part):
    """Which run this is and the exact commands that repeat it."""

    number: int | None = None
    name: str
    project: str = ""
    finished: str = Field(default="", description="ISO 8601, UTC")
    seed: int | None = None
    commands: tuple[str, ...] = ()


class Objective(Part):
    """What was wanted. `unit` says how the metric's numbers are read: `share` (0 to 1, shown in %) or `number`."""

    name: str
    task: str
    goal: str = ""
    metric: str
    unit: Unit = "share"
    higher_is_better: bool = True
    constraints: tuple[str, ...] = ()
    affected: tuple[str, ...] = Field(default=(), description="the people whom the model's answers touch")
    use: str = Field(default="", description="what the model is for, as far as licences ask; empty when not stated")


class ModelInfo(Part):
    """The base model, and what was trained on top of it."""

    base: str
    source: str = ""
    licence: str | None = None
    architecture: str = ""
    kind: Literal["decoder", "encoder", "seq2seq"] = "decoder"
    labels: tuple[str, ...] = Field(default=(), description="of an encoder's head, in the order of its outputs")
    num_parameters: int | None = None
    context_length: int | None = None
    method: str = ""
    settings: dict[str, str | int | float | bool | None] = {}
    num_trainable: int | None = None
    adapter: str = Field(default="", description="folder of the PEFT adapter, relative to the project")
    adapter_sha256: str = ""


class MetricRow(Part):
    """One metric of both models on the sealed rows; `difference` is tuned - baseline.

    p: of the paired test; of the deciding metric as it is, of all others adjusted by Holm over them.
    """

    name: str
    unit: Unit = "share"
    higher_is_better: bool = True
    baseline: Estimate | None = None
    tuned: Estimate | None = None
    difference: Estimate | None = None
    p: float | None = Field(default=None, ge=0, le=1)
    test: str = ""


class ClassRow(Part):
    """One class on the sealed rows: the share of its rows answered right, and how often its name was right."""

    label: str
    num_rows: int
    baseline_recall: Estimate | None = None
    tuned_recall: Estimate | None = None
    tuned_precision: Estimate | None = None


class Answer(Part):
    """One sealed row with both answers. `probability` and `margin` are the tuned model's, where it gives them."""

    key: str
    source: str
    prompt: str
    reference: str
    baseline: str | None = None
    tuned: str
    probability: float | None = None
    margin: float | None = None


class Pairs(Part):
    """Sealed rows by who was right: the table behind a paired test. `gained`: only tuned; `lost`: only baseline."""

    both_right: int
    gained: int
    lost: int
    both_wrong: int


class Evaluation(Part):
    """Both models on the sealed rows."""

    split: str = "test"
    metrics: tuple[MetricRow, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    confusion: Confusion | None = None
    reliability: tuple[ReliabilityPoint, ...] = Field(default=(), description="the points of a reliability plot, where `ece` is a metric")
    pairs: Pairs | None = None
    errors: tuple[Answer, ...] = Field(default=(), description="the worst first: the tuned model wrong and sure")
    gained: tuple[Answer, ...] = ()
    lost: tuple[Answer, ...] = ()
    both_right: tuple[Answer, ...] = ()


class RunReport(Part):
    """Everything that a run's report shows."""

    kind: Literal["run_report"] = "run_report"
    version: Literal[1] = 1
    verdict: Verdict
    run: Run
    objective: Objective
    model: ModelInfo
    data: Data = Data()
    lengths: Lengths | None = None
    training: Training | None = None
    side_effects: SideEffects | None = None
    candidates: tuple[Candidate, ...] = ()
    evaluation: Evaluation = Evaluation()
    looks: tuple[Look, ...] = Field(
        default=(), description="every look at these sealed rows up to this one, with the reason of each further one"
    )
    bars: tuple[BarRow, ...] = Field(default=(), description="what the objective asks of its metrics, in the order of the project file")
    robustness: tuple[ShiftRow, ...] = Field(
        default=(), description="the deciding metric on rows of other kinds, then on changed rows, the largest loss first"
    )
    refused: tuple[SideEffect, ...] = Field(default=(), description="side effects that were found and that the project refuses")
    cost: Cost | None = None
    lineage: tuple[LineageStep, ...] = ()
    machine: Machine | None = None
    limits: tuple[str, ...] = Field(default=(), description="known limits, one sentence each, for the report and the card")

    @property
    def accepted(self) -> bool:
        """Whether the answer is yes: better, every bar met, and no side effect that the project refuses."""
        return self.verdict.decision == "better" and all(bar.outcome == "met" for bar in self.bars) and not self.refused
