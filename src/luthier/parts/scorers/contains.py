"""Contains: the answer has the wanted text somewhere in it, as whole words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer, refuse_empty_references
from luthier.parts.scorers.text import Normal, normalise


class Contains(Scorer):
    """1 when the reference (or `text`, when given) occurs in the output. `whole_words` keeps `art` out of `party`."""

    measure: ClassVar[Measure] = "binary"

    kind: Literal["contains"] = "contains"
    text: str | None = None
    normalise: Normal = "text"
    whole_words: bool = True

    def check(self, examples: Sequence[Example]) -> None:
        if self.text is None:
            refuse_empty_references(self, examples)

    def __call__(self, example: Example, output: str) -> Score:
        wanted = normalise(example.reference if self.text is None else self.text, self.normalise)
        given = normalise(output, self.normalise)
        if not wanted:
            return Score(float(not given), {"reason": "the wanted text is empty"})
        if not self.whole_words:
            return Score(float(wanted in given))
        return Score(float(re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", given) is not None))
