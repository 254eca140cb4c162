"""The log-probability of each row's own answer, for the scorers that need it.

One decision: it is asked for in one place, so training, the choice of a way of asking and the evaluation score the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from luthier.core.errors import UserError
from luthier.core.records import Example, Message
from luthier.parts.scorers.scorer import Answer, Scorer


def wants_references(scorers: Sequence[Scorer]) -> bool:
    """Whether any of them reads it."""
    return any(s.needs == "reference_logprob" for s in scorers)


def with_references(
    predictor: Any,
    asked: Sequence[tuple[Message, ...]],
    rows: Sequence[Example],
    answers: Sequence[Answer],
    tell: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """`answers` with the log-probability of each row's own answer after what is asked.

    Raises UserError for a model that writes no text.
    """
    from luthier.engine.predictor import Predictor

    if not isinstance(predictor, Predictor):
        raise UserError("perplexity needs a model that writes text", "an encoder", "objective.metrics", "leave perplexity out")
    found = predictor.answer_logprobs(asked, [r.reference for r in rows], [r.tools for r in rows], tell)
    return [replace(a, reference_logprob=logprob, reference_tokens=n) for a, (logprob, n) in zip(answers, found, strict=True)]
