"""Text longer than any context window.

One decision: this is a bound in characters that needs no tokeniser; what fits the model at hand is judged
when the rows are rendered.
"""

from __future__ import annotations

from pydantic import Field

from luthier.parts.checks.contract import PASS, TextCheck, Verdict


class TooLong(TextCheck):
    """Fails on more than `max_characters`."""

    max_characters: int = Field(default=400_000, ge=1, description="of one text")

    def __call__(self, text: str) -> Verdict:
        """The reason gives the length; the span is what is over it."""
        if len(text) <= self.max_characters:
            return PASS
        return Verdict(False, f"too long: {len(text):,} characters, would be cut", ((self.max_characters, len(text)),))
