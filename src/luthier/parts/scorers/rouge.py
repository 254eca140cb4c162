"""ROUGE (Lin 2004) as Google's rouge-score computes it: one word, two words, the longest common subsequence, and that of lines.

One decision: the score of a row is F1, and the figure their mean. rouge-score reads Latin letters and digits alone; rows whose
reference has none are refused, because every answer to them would score 0.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from luthier.core.errors import MachineError, UserError
from luthier.core.records import Example
from luthier.parts.scorers.scorer import WRITING, Score, Scorer, refuse_empty_references


class RougeScorer(Scorer):
    """Base of the four: rouge-score's F1 of `variant`."""

    tasks: ClassVar[tuple[str, ...]] = WRITING
    variant: ClassVar[str]

    stem: bool = Field(default=False, description="Porter's stemmer first, for English")

    def __call__(self, example: Example, output: str) -> Score:
        found = _rouge(self.variant, self.stem).score(example.reference, output)[self.variant]
        return Score(min(1.0, found.fmeasure), {"precision": found.precision, "recall": found.recall})

    def check(self, examples: Sequence[Example]) -> None:
        refuse_empty_references(self, examples)
        tokenizer = _rouge(self.variant, self.stem)._tokenizer
        unread = [e for e in examples if not tokenizer.tokenize(e.reference)]
        if unread:
            got = f"{len(unread)} of {len(examples)} rows without any"
            where = f"the first is {unread[0].source}"
            raise UserError(f"{self.name} reads Latin letters and digits alone", got, where, "use chrf")


class Rouge1(RougeScorer):
    """F1 of the words."""

    variant: ClassVar[str] = "rouge1"

    kind: Literal["rouge_1"] = "rouge_1"


class Rouge2(RougeScorer):
    """F1 of pairs of words in a row; 0 for answers of one word."""

    variant: ClassVar[str] = "rouge2"

    kind: Literal["rouge_2"] = "rouge_2"


class RougeL(RougeScorer):
    """F1 of the longest common subsequence of words, lines taken together."""

    variant: ClassVar[str] = "rougeL"

    kind: Literal["rouge_l"] = "rouge_l"


class RougeLsum(RougeScorer):
    """F1 of the union of the longest common subsequences of each line, as summaries of several lines are judged."""

    variant: ClassVar[str] = "rougeLsum"

    kind: Literal["rouge_lsum"] = "rouge_lsum"


@functools.lru_cache(maxsize=16)
def _rouge(variant: str, stem: bool) -> Any:
    try:
        from rouge_score import rouge_scorer
    except ImportError:
        raise MachineError("ROUGE needs rouge-score: pip install 'luthier[eval]'") from None
    return rouge_scorer.RougeScorer([variant], use_stemmer=stem)
