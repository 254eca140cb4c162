"""BLEU (Papineni et al. 2002) as sacrebleu computes it (Post 2018): up to four words in a row, exponential smoothing."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal

from pydantic import Field

from luthier.parts.scorers.sacre import SacreScorer, sacrebleu_metrics
from luthier.parts.scorers.scorer import WRITING


class Bleu(SacreScorer):
    """Corpus BLEU in [0, 1]: sacrebleu's figure divided by 100. A row's own score is its sentence BLEU with effective order."""

    tasks: ClassVar[tuple[str, ...]] = WRITING

    kind: Literal["bleu"] = "bleu"
    tokenize: Literal["13a", "intl", "zh", "char", "none"] = Field(default="13a", description="sacrebleu's tokeniser; `zh` for Chinese")
    lowercase: bool = Field(default=False, description="compare without case")

    def _metric(self) -> Any:
        return _bleu(self.tokenize, self.lowercase, effective_order=False)

    def _of_a_row(self) -> Any:
        return _bleu(self.tokenize, self.lowercase, effective_order=True)


@functools.lru_cache(maxsize=16)
def _bleu(tokenize: str, lowercase: bool, effective_order: bool) -> Any:
    return sacrebleu_metrics().BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=effective_order, force=True)
