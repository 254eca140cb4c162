"""TER, translation edit rate (Snover et al. 2006), as sacrebleu computes it: edits and shifts for each word of the reference.

One decision: it is a rate of errors, so lower is better, and it may pass 1; a row's own score is 1 - TER, at least 0.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal

from pydantic import Field

from luthier.parts.scorers.sacre import SacreScorer, sacrebleu_metrics
from luthier.parts.scorers.scorer import WRITING


class Ter(SacreScorer):
    """Corpus TER: 0 is the reference itself, 1 is an edit for each of its words. sacrebleu's figure divided by 100."""

    higher_is_better: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = WRITING

    kind: Literal["ter"] = "ter"
    normalized: bool = Field(default=False, description="split punctuation off words first")
    case_sensitive: bool = Field(default=False, description="compare with case")

    def _metric(self) -> Any:
        return _ter(self.normalized, self.case_sensitive)

    def _bounded(self, share: float) -> float:
        return max(0.0, 1.0 - share)


@functools.lru_cache(maxsize=16)
def _ter(normalized: bool, case_sensitive: bool) -> Any:
    return sacrebleu_metrics().TER(normalized=normalized, case_sensitive=case_sensitive)
