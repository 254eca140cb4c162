"""Numeric answer: is the final number right? As GSM8K's problems are judged (Cobbe et al. 2021).

One decision: the number after the last `####` is the answer; without that mark the last number of the text is, unless
`marked` demands it. Numbers are compared as numbers: `1,000`, `$1000.00` and `1e3` are one, and no tolerance is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.scorer import WRITING, Measure, Score, Scorer, refuse_unreadable_references

_NUMBER = re.compile(
    r"(?<![\w.])(?:[-−+]?[$€£¥]?|[$€£¥][-−])(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?"
)
_LONGEST = 400


class NumericAnswer(Scorer):
    """1 when the answer's number is that of the row's own answer, within `tolerance` (relative to the row's own)."""

    measure: ClassVar[Measure] = "binary"
    tasks: ClassVar[tuple[str, ...]] = WRITING

    kind: Literal["numeric_answer"] = "numeric_answer"
    marked: bool = Field(default=False, description="only a number after `####` counts")
    tolerance: float = Field(default=0.0, ge=0, lt=1, description="relative error that is still right")

    def __call__(self, example: Example, output: str) -> Score:
        wanted = final_number(example.reference, marked=False)
        if wanted is None:
            must = "a row scored by numeric_answer must have a number in its answer"
            raise UserError(must, repr(example.reference[-40:]), str(example.source))
        given = final_number(output, self.marked)
        if given is None:
            return Score(0.0, {"wanted": str(wanted), "reason": "the answer has no number"})
        right = given == wanted if self.tolerance == 0 else abs(given - wanted) <= Decimal(repr(self.tolerance)) * abs(wanted)
        return Score(float(right), {"wanted": str(wanted), "given": str(given)})

    def check(self, examples: Sequence[Example]) -> None:
        refuse_unreadable_references(self, examples)


def final_number(text: str, marked: bool) -> Decimal | None:
    """The number after the last `####`, else (unless `marked`) the last one of the text; None without any."""
    _, mark, after = text.rpartition("####")
    if mark:
        found = _numbers(after)
        return found[0] if found else None
    return None if marked or not (found := _numbers(text)) else found[-1]


def _numbers(text: str) -> list[Decimal]:
    found = (re.sub(r"[,$€£¥+]", "", m.group().replace("−", "-")) for m in _NUMBER.finditer(text))
    return [Decimal(plain) for plain in found if len(plain) < _LONGEST]
