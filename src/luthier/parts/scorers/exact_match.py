"""Exact match: the answer equals the wanted one, after the declared normalisation."""

from __future__ import annotations

from typing import ClassVar, Literal

from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer
from luthier.parts.scorers.text import Normal, normalise


class ExactMatch(Scorer):
    """1 when output and reference are the same text. `normalise`: none, spaces, case or text (quotes and end stops too)."""

    measure: ClassVar[Measure] = "binary"

    kind: Literal["exact_match"] = "exact_match"
    normalise: Normal = "text"

    def __call__(self, example: Example, output: str) -> Score:
        return Score(float(normalise(output, self.normalise) == normalise(example.reference, self.normalise)))
