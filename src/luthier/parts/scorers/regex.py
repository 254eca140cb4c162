"""Regex: the answer has the form that a regular expression (Python's `re`) describes."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer


class Regex(Scorer):
    """1 when `pattern` matches the whole answer, or (`where: anywhere`) some part of it. Spaces at the ends do not count."""

    measure: ClassVar[Measure] = "binary"
    needs_reference: ClassVar[bool] = False

    kind: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1, description="of Python's `re`; `(?i)` at its start ignores case")
    where: Literal["whole", "anywhere"] = Field(default="whole", description="what must match")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as err:
            raise ValueError(f"a regular expression must be valid: {err}") from None
        return pattern

    def __call__(self, example: Example, output: str) -> Score:
        found = re.fullmatch(self.pattern, output.strip()) if self.where == "whole" else re.search(self.pattern, output)
        return Score(float(found is not None))
