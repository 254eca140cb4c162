"""Accumulation: a step computed piece by piece equals the whole step on the slow twin, the last uneven one too.

One decision: the pieces go through the function that the training loop uses, and the twin's normaliser is counted here, so a
mean of means (the usual fault) cannot be on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.gradients import OneGraph, apart, gradient, relative, trained_weight
from luthier.pipeline.doctor.proof import GRADIENT, LOSS, Finding, Proof

if TYPE_CHECKING:
    from luthier.engine.contract import Batch, TokenSequence
    from luthier.pipeline.doctor.subject import Subject

WINDOW = 3
SMALL_TOKENS = 64


class Accumulation(Proof):
    """Two steps of the project's rows: a full window and the smaller last one."""

    kind: Literal["accumulation"] = "accumulation"
    order: ClassVar[int] = 50
    title: ClassVar[str] = "gradient accumulation"
    hurts: ClassVar[str] = "long rows, small micro-batches and the last step of an epoch would weigh too much or too little"

    def __call__(self, subject: Subject) -> Finding:
        from luthier.engine.contract import Batch
        from luthier.stages.train.loop import rows_of_step, whole_step

        rows = subject.sequences
        if len(rows) < 2:
            return Finding("there is one row only: nothing is accumulated", applies=False)
        recipe = subject.project.train.model_copy(update={"batch_size": min(WINDOW, len(rows) - 1)})
        small = subject.with_adapter(subject.execution.model_copy(update={"micro_batch_tokens": _tokens_of_one(rows)}))
        loss_error, gradient_error, sizes = 0.0, 0.0, []
        for step in range(recipe.steps_per_epoch(len(rows))):
            window = tuple(rows[i] for i in rows_of_step(step, len(rows), recipe))
            with subject.at_start(small), subject.at_start(subject.twin):
                found = gradient(small, _pieces(whole_step(window)), recipe.loss())
                truth = gradient(subject.twin, [Batch(window, trained_weight(window))], OneGraph.of(recipe.loss()))
            loss_error = _worse(loss_error, apart(found.loss, truth.loss))
            gradient_error = _worse(gradient_error, relative(found.vector, truth.vector))
            sizes.append(str(len(window)))
        proven = f"steps of {' and '.join(sizes)} rows, computed in pieces of one or two rows, equal the whole step on the slow twin"
        figures = (
            Figure(name="loss, relative above 1 nat", value=loss_error, bound=LOSS),
            Figure(name="gradient, relative", value=gradient_error, bound=GRADIENT),
        )
        return Finding(proven, figures)


def _tokens_of_one(rows: list[TokenSequence]) -> int:
    """A micro-batch that holds the longest row and not two that share little."""
    return max(SMALL_TOKENS, max(len(r.tokens) for r in rows))


def _pieces(step: Batch) -> list[Batch]:
    """The step cut after its first two rows (after its first row when it has two): uneven calls of one step."""
    from luthier.engine.contract import Batch

    cut = max(1, min(2, len(step.sequences) - 1))
    parts = (step.sequences[:cut], step.sequences[cut:])
    return [Batch(part, step.normaliser) for part in parts if part]


def _worse(a: float, b: float) -> float:
    """The larger one, NaN when either is."""
    return a if a != a or a > b else b
