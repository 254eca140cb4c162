"""Refusal: does the answer refuse where it should, and only there?

One decision: what counts as a refusal is what the check `refusals` counts, so cleaning data and judging a model agree. It knows
English phrases at an answer's beginning, nothing else.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.records import Example
from luthier.parts.checks.refusals import refusal_in
from luthier.parts.scorers.scorer import Measure, Score, Scorer


class Refusal(Scorer):
    """1 when the answer refuses as `wanted` says. An empty answer is no refusal and no help: it is never right."""

    measure: ClassVar[Measure] = "binary"
    needs_reference: ClassVar[bool] = False

    kind: Literal["refusal"] = "refusal"
    wanted: Literal["never", "always", "as_reference"] = Field(
        default="never", description="`as_reference`: the answer refuses where the row's own answer does, and nowhere else"
    )

    @property
    def name(self) -> str:
        return {"never": "no_refusal", "always": "refusal", "as_reference": "refusal_as_reference"}[self.wanted]

    def __call__(self, example: Example, output: str) -> Score:
        wanted = self.wanted == "always" or (self.wanted == "as_reference" and refusal_in(example.reference) is not None)
        refused = refusal_in(output) is not None
        return Score(float(bool(output.strip()) and refused == wanted), {"refused": refused, "wanted": wanted})
