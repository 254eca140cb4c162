"""Perplexity: how surprised the model is by the rows' own answers: exp of minus the mean log-probability of their tokens.

One decision: it is of the wanted answers given their prompts, end of turn included, over the tokens of all rows together; it depends
on the tokenizer, so only models that share one can be compared by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.scorer import Answer, Measure, Needs, Score, Scorer, Unit, refuse_empty_references

if TYPE_CHECKING:
    import numpy as np


class Perplexity(Scorer):
    """At least 1, lower is better. A row's own score is the geometric mean of its tokens' probabilities."""

    measure: ClassVar[Measure] = "corpus"
    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[Unit] = "number"
    bounds: ClassVar[tuple[float, float]] = (1.0, 1e9)
    needs: ClassVar[Needs] = "reference_logprob"

    kind: Literal["perplexity"] = "perplexity"

    def __call__(self, example: Example, output: str) -> Score:
        raise UserError("perplexity needs the model's own log-probabilities", "a text alone", "perplexity", "use it in an evaluation")

    def score(self, example: Example, answer: Answer) -> Score:
        if answer.reference_logprob is None or not answer.reference_tokens:
            return self(example, answer.text)
        logprob, tokens = answer.reference_logprob, answer.reference_tokens
        return Score(min(1.0, math.exp(logprob / tokens)), {"logprob": logprob, "tokens": tokens})

    def check(self, examples: Sequence[Example]) -> None:
        refuse_empty_references(self, examples)

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Minus the log-probability and the number of tokens of each row [n, 2]."""
        import numpy as np

        return np.array([(-s.details["logprob"], s.details["tokens"]) for s in scores], dtype=np.float64).reshape(len(scores), 2)

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """exp of the mean surprise, at most the largest float64: [..., 2] -> [...]."""
        from luthier.stats.perplexity import perplexity

        return perplexity(totals)

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """Bits for each token, which a base of 2 gives."""
        if not scores:
            return {}
        surprise, tokens = self.counts(scores).sum(axis=0)
        return {"bits_per_token": float(surprise / tokens / math.log(2))}
