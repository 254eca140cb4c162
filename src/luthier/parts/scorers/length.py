"""Length: is the answer within the limits that its reader has?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer


class Length(Scorer):
    """1 when the answer has `at_least` to `at_most` words (or characters). The mean length stands beside the share."""

    measure: ClassVar[Measure] = "binary"
    needs_reference: ClassVar[bool] = False

    kind: Literal["length"] = "length"
    at_least: int = Field(default=1, ge=0, description="the fewest that are right")
    at_most: int | None = Field(default=None, ge=0, description="the most that are right; no limit when not given")
    counted: Literal["words", "characters"] = Field(default="words", description="words are what stands between spaces")

    @model_validator(mode="after")
    def _in_order(self) -> Length:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"`at_least <= at_most` must hold, got {self.at_least} and {self.at_most}")
        return self

    def __call__(self, example: Example, output: str) -> Score:
        size = len(output.split()) if self.counted == "words" else len(output)
        return Score(float(self.at_least <= size and (self.at_most is None or size <= self.at_most)), {"length": size})

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """The mean length."""
        return {f"mean_{self.counted}": sum(s.details["length"] for s in scores) / len(scores)} if scores else {}
