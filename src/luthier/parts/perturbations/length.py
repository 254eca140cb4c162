"""Length: polite sentences that ask and say nothing are put around the text until it is long."""

from __future__ import annotations

import random
from typing import ClassVar, Literal

from pydantic import Field

from luthier.parts.perturbations.contract import Perturbation

SENTENCES = (
    "I hope that this message finds you well.",
    "Thank you for taking the time to read this.",
    "I have thought for a while about how to put it.",
    "I will try to be as clear as I can.",
    "There is no need to answer every word of it.",
    "I am writing this in the middle of a long day.",
    "Forgive me if I go on for longer than I should.",
    "I have read it once more before I sent it.",
    "You may have seen many messages like this one.",
    "I am grateful for anything that you can say.",
)


class Length(Perturbation):
    """At least `words` words are added, half of the sentences before the text and half after it. English."""

    language: ClassVar[str] = "English"

    kind: Literal["length"] = "length"
    words: int = Field(default=60, ge=5, le=5000, description="the fewest words that are added")

    def changed(self, text: str, rng: random.Random, keep: frozenset[str]) -> str:
        """The text between sentences."""
        drawn: list[str] = []
        words = 0
        while words < self.words:
            for sentence in rng.sample(SENTENCES, len(SENTENCES)):
                if words < self.words:
                    drawn.append(sentence)
                    words += len(sentence.split())
        half = (len(drawn) + 1) // 2
        return " ".join([*drawn[:half], text, *drawn[half:]])
