"""Packing: rows computed together, shared prefixes once, give what each row alone gives, and no row can see another.

One decision: three sides are compared: together and alone on the project's engine, and alone on the slow twin; the poison
test changes one token of one row and asks that no other row moves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.gradients import gradient, relative, trained_weight
from luthier.pipeline.doctor.proof import LOGPROB, REGROUPED, Finding, Proof

if TYPE_CHECKING:
    import numpy as np

    from luthier.engine.contract import Engine, TokenSequence
    from luthier.pipeline.doctor.subject import Subject

POISON = 1e-5
"""Nats: the branches stay as they are, so at most the rounding of their neighbours moves."""


class Packing(Proof):
    """Forward and backward of the short rows as one tree."""

    kind: Literal["packing"] = "packing"
    order: ClassVar[int] = 60
    title: ClassVar[str] = "packing and tree"
    hurts: ClassVar[str] = "rows of a batch would leak into each other, and shared prompts would train on the wrong numbers"

    def __call__(self, subject: Subject) -> Finding:
        from luthier.engine.contract import Batch

        engine, rows = subject.engine, subject.sequences
        if len(rows) < 2:
            return Finding("there is one row only: nothing is packed", applies=False)
        if engine.name == "reference" or (subject.kind != "decoder" and subject.execution.engine == "reference"):
            why = f" ({engine.refusal})" if engine.refusal else ""
            return Finding(f"the reference engine computes each row alone{why}: nothing is packed or shared", applies=False)
        weight, loss = trained_weight(rows), subject.project.train.loss()
        with subject.at_start(engine):
            together = gradient(engine, [Batch(tuple(rows), weight)], loss)
            alone = gradient(engine, [Batch((row,), weight) for row in rows], loss)
        scores = engine.logprobs(rows)
        figures = (
            Figure(name="log-probability against each row alone, nats", value=_apart(scores, _one_by_one(engine, rows)), bound=LOGPROB),
            Figure(name="log-probability against the slow twin, nats", value=_apart(scores, subject.twin_scores), bound=LOGPROB),
            Figure(name="gradient against each row alone, relative", value=relative(together.vector, alone.vector), bound=REGROUPED),
            Figure(name="other rows moved by a changed token, nats", value=_poisoned(subject, scores), bound=POISON),
        )
        shape = f"in one tree, {together.shared:.0%} of their tokens shared," if subject.kind == "decoder" else _padded(rows)
        return Finding(f"{len(rows)} rows {shape} equal the rows one by one", figures)


def _padded(rows: list[TokenSequence]) -> str:
    lengths = sorted({len(row.tokens) for row in rows})
    return f"of {lengths[0]} to {lengths[-1]} tokens, padded side by side," if len(lengths) > 1 else "of one length, without padding,"


def _one_by_one(engine: Engine, rows: list[TokenSequence]) -> list[np.ndarray]:
    return [engine.logprobs([row])[0] for row in rows]


def _poisoned(subject: Subject, before: list[np.ndarray]) -> float:
    """How far the other rows move when one token of the first row becomes another one: the first of its answer, of an encoder
    the middle one of its text (an answer is no input there)."""
    import numpy as np

    rows, head = subject.sequences, subject.kind == "encoder"
    tokens, first = rows[0].tokens.copy(), int(np.flatnonzero(rows[0].weights)[0])
    at = first // 2 if head else first
    others = (t for row in rows[1:] for t in (row.tokens[row.weights == 0] if head else row.tokens)[::-1])
    tokens[at] = next(t for t in others if t != tokens[at])
    return _apart(before[1:], subject.engine.logprobs([replace(rows[0], tokens=tokens), *rows[1:]])[1:])


def _apart(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Largest difference of log-probabilities, each float64 [num_targets]; NaN when any is NaN."""
    import numpy as np

    return float(np.abs(np.concatenate(found) - np.concatenate(wanted)).max())
