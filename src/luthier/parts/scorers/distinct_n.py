"""distinct-n (Li et al. 2016): how many of an answer's n words in a row are different ones.

One decision: the figure is the mean over answers, because that of all answers together has no honest interval (a resample
repeats rows, and so looks less diverse); that one stands beside it as `corpus`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.records import Example
from luthier.parts.scorers.scorer import Score, Scorer


class DistinctN(Scorer):
    """Different n-grams / n-grams of words between spaces; 0 for an answer with none. It knows nothing of right or wrong."""

    needs_reference: ClassVar[bool] = False

    kind: Literal["distinct_n"] = "distinct_n"
    n: int = Field(default=2, ge=1, le=8, description="words in a row")

    @property
    def name(self) -> str:
        return f"distinct_{self.n}"

    def __call__(self, example: Example, output: str) -> Score:
        words = output.split()
        found = [" ".join(words[i : i + self.n]) for i in range(len(words) - self.n + 1)]
        return Score(len(set(found)) / len(found) if found else 0.0, {"ngrams": sorted(set(found)), "number": len(found)})

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """distinct-n of all answers together, as the paper has it."""
        number = sum(s.details["number"] for s in scores)
        return {"corpus": len({g for s in scores for g in s.details["ngrams"]}) / number if number else 0.0}
