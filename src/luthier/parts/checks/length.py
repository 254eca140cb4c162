"""Texts that are too short or too long, in characters or words.

One decision: the bounds are the user's, there is none by default but that of one letter or digit: what is too short for a
summary is a whole answer elsewhere. Words are what white space divides.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from luthier.parts.checks.contract import PASS, TextCheck, Verdict


class Length(TextCheck):
    """Fails on fewer or more characters or words than allowed."""

    standing: ClassVar[bool] = False

    min_characters: int = Field(default=1, ge=0, description="counted without white space at the ends")
    max_characters: int | None = Field(default=None, ge=1, description="no bound when not given")
    min_words: int = Field(default=0, ge=0, description="words are what white space divides")
    max_words: int | None = Field(default=None, ge=1, description="no bound when not given")

    @model_validator(mode="after")
    def _ordered(self) -> Length:
        for name, low, high in (
            ("characters", self.min_characters, self.max_characters),
            ("words", self.min_words, self.max_words),
        ):
            if high is not None and low > high:
                raise ValueError(f"min_{name} <= max_{name} must hold, got {low} and {high}")
        return self

    def __call__(self, text: str) -> Verdict:
        """The reason gives the number and the bound; the span is the whole text. A text of nothing has no place and passes."""
        if not text:
            return PASS
        span = ((0, len(text)),)
        for name, n, low, high in (
            ("characters", len(text.strip()), self.min_characters, self.max_characters),
            ("words", len(text.split()) if self.min_words or self.max_words else 0, self.min_words, self.max_words),
        ):
            if n < low:
                return Verdict(False, f"too short: {n:,} {name}, at least {low:,} wanted", span)
            if high is not None and n > high:
                return Verdict(False, f"too long: {n:,} {name}, at most {high:,} wanted", span)
        return PASS
