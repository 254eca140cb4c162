"""What a comparison of runs says: the document behind its table, its page and `luthier compare --json`.

One decision: a run that has no figures yet is in the document too, with its state and its curves so far, so that nothing that was
asked for goes missing; what was not measured is `None` or empty.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.report.sections import CurvePoint, Estimate, Part, Unit

Setting = str | int | float | bool | None
State = Literal["done", "running", "stopped", "failed"]


class RunCost(Part):
    """What a run took. Seconds of training alone; memory of the process that trained; energy is an estimate.

    ms_per_row: of answering the sealed rows, batched as the evaluation did it.
    """

    train_seconds: float
    trained_tokens: int
    num_trainable: int
    peak_memory_mb: float
    energy_wh: float
    ms_per_row: float | None = None


class ComparedRun(Part):
    """One run. primary: the deciding metric on the rows that all runs answered; metrics: every metric on the run's own sealed rows.

    group_letters: runs that share a letter cannot be told apart. sentence: how the run ended, in words. step: of the last curve point.
    """

    label: str
    project: str
    number: int
    name: str
    state: State
    sentence: str = ""
    primary: Estimate | None = None
    metrics: dict[str, Estimate] = {}
    group_letters: str = ""
    num_rows: int | None = None
    cost: RunCost | None = None
    curves: tuple[CurvePoint, ...] = ()
    step: int | None = None


class RunPair(Part):
    """`first` against `second` on the same rows: effect = first - second with its interval; `adjusted` is Holm's p over all pairs."""

    first: str
    second: str
    effect: float
    low: float
    high: float
    p: float
    adjusted: float
    test: str


class Difference(Part):
    """A setting that is not the same in all runs, by the run's label; a run in which it does not exist is left out."""

    key: str
    values: dict[str, Setting]


class RunsComparison(Part):
    """Runs from best to worst, then those without figures; every pair, the groups in words, and what differs between their settings."""

    metric: str
    units: dict[str, Unit] = Field(description="how the numbers of a metric are read; a metric that is not in it is a number")
    task: str
    alpha: float
    num_rows: int = Field(ge=0, description="rows that every compared run answered")
    runs: tuple[ComparedRun, ...]
    pairs: tuple[RunPair, ...]
    groups: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    looks: int = Field(ge=0, description="evaluations of these sealed rows whose numbers a person could see, this one included")

    @property
    def unit(self) -> Unit:
        """How the deciding metric is read."""
        return self.units.get(self.metric, "number")

    @property
    def compared(self) -> tuple[ComparedRun, ...]:
        """The runs that have figures, best first."""
        return tuple(r for r in self.runs if r.primary is not None)

    @property
    def other_metrics(self) -> tuple[str, ...]:
        """Every further metric that any run has, in the order of their first appearance."""
        return tuple(dict.fromkeys(name for r in self.compared for name in r.metrics if name != self.metric))
