"""chrF (Popovic 2015) as sacrebleu computes it: F2 of character sequences up to six; chrF++ adds words up to two."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal

from pydantic import Field

from luthier.parts.scorers.sacre import SacreScorer, sacrebleu_metrics
from luthier.parts.scorers.scorer import WRITING


class ChrF(SacreScorer):
    """Corpus chrF in [0, 1]: sacrebleu's figure divided by 100."""

    tasks: ClassVar[tuple[str, ...]] = WRITING

    kind: Literal["chrf"] = "chrf"
    word_order: int = Field(default=0, ge=0, le=4, description="0 is chrF, 2 is chrF++")
    lowercase: bool = Field(default=False, description="compare without case")

    @property
    def name(self) -> str:
        return "chrf++" if self.word_order == 2 else self.kind

    def _metric(self) -> Any:
        return _chrf(self.word_order, self.lowercase)


@functools.lru_cache(maxsize=16)
def _chrf(word_order: int, lowercase: bool) -> Any:
    return sacrebleu_metrics().CHRF(word_order=word_order, lowercase=lowercase)
