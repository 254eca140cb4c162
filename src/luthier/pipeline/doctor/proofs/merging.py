"""Merging: the adapter added into the weights gives the answers of the adapter beside them.

One decision: both sides are plain transformers and PEFT, so it is the adapter's files that are proven to merge, whichever
program does it; the bound is that of an exact export.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.plain import OUTPUT, load_by_libraries, outputs_apart, outputs_by_libraries
from luthier.pipeline.doctor.proof import Finding, Proof

if TYPE_CHECKING:
    from luthier.pipeline.doctor.subject import Subject


class Merging(Proof):
    """Logits of the short rows' answers before and after merging."""

    kind: Literal["merging"] = "merging"
    order: ClassVar[int] = 80
    title: ClassVar[str] = "merged equals unmerged"
    hurts: ClassVar[str] = "an exported model would answer otherwise than the one that was evaluated"

    def __call__(self, subject: Subject) -> Finding:
        from luthier.core.errors import EngineRefused

        try:
            return _decoder(subject) if subject.kind == "decoder" else _headed(subject)
        except EngineRefused as err:
            return Finding(f"this method is never merged: {err}", applies=False)


def _decoder(subject: Subject) -> Finding:
    import numpy as np

    from luthier.engine.export.fidelity import BOUNDS, Reading, answer_logits, compare, rounding
    from luthier.engine.export.loading import load_tuned, merge

    readings = [Reading(s.tokens, int(np.flatnonzero(s.weights)[0])) for s in subject.sequences]
    model = load_tuned(Path(subject.base.result.folder), subject.checkpoint.path / "adapter")
    beside = answer_logits(model, readings, _quiet)
    found = compare(beside, answer_logits(merge(model), readings, _quiet))
    bound = BOUNDS["float32"]
    figures = (
        Figure(name="largest logit difference", value=found.max_logit_error, bound=rounding(found.largest_logit)),
        Figure(name="mean KL, nats a token", value=found.mean_kl, bound=bound.kl),
        Figure(
            name="share of equal greedy tokens",
            value=(found.equal_tokens + found.near_ties) / found.tokens,
            bound=bound.greedy,
            at_least=True,
        ),
    )
    return Finding(f"{found.tokens} answer tokens of {found.prompts} rows, merged and beside the base", figures)


def _headed(subject: Subject) -> Finding:
    """An encoder's head, or an encoder-decoder's answers, before and after."""
    from luthier.engine.export import loading

    model = load_by_libraries(subject)
    beside = outputs_by_libraries(model, subject)
    error = outputs_apart(outputs_by_libraries(loading.merge(model), subject), beside)
    figure = Figure(name="largest difference of an output, relative above 1", value=error, bound=OUTPUT)
    return Finding(f"{len(beside)} outputs of {len(subject.rows)} rows, merged and beside the base", (figure,))


def _quiet(done: int, total: int) -> None:
    """Nobody watches: it takes seconds."""
