"""Resume: training that is stopped and goes on from its checkpoint ends with the same bytes.

One decision: the training loop itself is run three times on a few rows (whole, stopped after a step, gone on with), and the
engine that goes on starts from other weights, so that whatever is right afterwards came from the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from luthier.core.errors import LuthierError
from luthier.core.events import Event, Metric, Progress
from luthier.core.execution import Execution
from luthier.core.stage import Built, Stage
from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.proof import Finding, Proof

if TYPE_CHECKING:
    from luthier.engine.contract import Engine
    from luthier.pipeline.doctor.subject import Subject
    from luthier.stages.train.loop import Progressed

STEPS, STOP_AFTER = 3, 1


class Resume(Proof):
    """Three steps of the project's recipe with a small batch, the last one uneven."""

    kind: Literal["resume"] = "resume"
    order: ClassVar[int] = 90
    title: ClassVar[str] = "exact resume"
    hurts: ClassVar[str] = "a run that was stopped or killed would end as another model than one that was not"

    def __call__(self, subject: Subject) -> Finding:
        whole, stopped = _Run(subject.work / "whole", subject.execution), _Run(subject.work / "stopped", subject.execution, STOP_AFTER)
        done, engine = _train(subject, whole, 0)
        _train(subject, stopped, 0)
        again = _Run(stopped.dir, subject.execution)
        resumed, other = _train(subject, again, 1)
        wanted, found = engine.state(), other.state()
        different = [name for name in {*wanted, *found} if not _same(wanted.get(name), found.get(name))]
        metrics = sum(a != b for a, b in zip(whole.metrics, [*stopped.metrics, *again.metrics], strict=False))
        metrics += abs(len(whole.metrics) - len(stopped.metrics) - len(again.metrics))
        figures = (
            Figure(name="tensors and values that differ", value=len(different), bound=0),
            Figure(name="figures of the curves that differ", value=metrics, bound=0),
        )
        faults = () if done == resumed else (f"the loop's own state differs: {done} and {resumed}",)
        return Finding(
            f"{STEPS} steps in one go equal {STOP_AFTER} step, a stop, and the rest: {len(wanted)} tensors and values", figures, faults
        )


class _Stopped(LuthierError):
    """The loop has saved and left."""


@dataclass
class _Run:
    """What the training loop needs of a build: a folder, an observer, and a stop after some steps."""

    dir: Path
    execution: Execution
    stop_after: int | None = None
    metrics: list[Metric] = field(default_factory=list)
    step: int = 0

    def observer(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.step = int(event.done)
        if isinstance(event, Metric) and event.name != "seconds_per_step":
            self.metrics.append(event)

    def stop_requested(self) -> bool:
        return self.stop_after is not None and self.step >= self.stop_after

    def stop(self, done: str) -> None:
        raise _Stopped(done)

    def get(self, stage: Stage[Any]) -> Built[Any]:
        raise AssertionError("the training loop builds nothing")


def _train(subject: Subject, run: _Run, other_seed: int) -> tuple[Progressed | None, Engine]:
    """The loop on a fresh engine; None when it was stopped on the way."""
    from luthier.stages.train.loop import Objective, train
    from luthier.stages.train.recipe import EarlyStopping

    rows = subject.sequences
    patient = EarlyStopping(patience=STEPS + 1)  # its counters are part of what must come back
    changes = {"steps": STEPS, "epochs": None, "batch_size": max(1, len(rows) // 2), "evaluations": STEPS, "early_stopping": patient}
    recipe = subject.project.train.model_copy(update=changes)
    engine = subject.load(recipe.method.spec(), run.execution, recipe.seed + other_seed, recipe.precision)
    engine.use_optimiser(recipe.optimizer, recipe.regularisation.ema)
    objective = Objective("validation/loss", higher_is_better=False)

    def watch(step: int) -> dict[str, float]:
        return {objective.name: -float(engine.logprobs(rows[:1])[0].mean())}

    try:
        return train(engine, subject.training_rows, recipe.loss(), recipe, watch, run, objective), engine
    except _Stopped:
        return None, engine


def _same(a: Any, b: Any) -> bool:
    import torch

    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and a == b
