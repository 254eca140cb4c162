"""Distractors: true and complete sentences about something else are put before or after the text."""

from __future__ import annotations

import random
from typing import ClassVar, Literal

from pydantic import Field

from luthier.parts.perturbations.contract import Perturbation

SENTENCES = (
    "The museum by the river opens at ten on Sundays.",
    "A violin has four strings.",
    "Bread was baked in clay ovens long ago.",
    "The lighthouse was painted white in spring.",
    "Bees dance to show where flowers are.",
    "The train to the coast stops in seven villages.",
    "Marble is harder than chalk.",
    "Penguins live south of the equator.",
    "The choir sings in the old hall on Thursdays.",
    "Tea was once carried over the mountains on horses.",
)


class Distractors(Perturbation):
    """`sentences` sentences about other things, each before or after the text as it falls. English."""

    language: ClassVar[str] = "English"

    kind: Literal["distractors"] = "distractors"
    sentences: int = Field(default=2, ge=1, le=len(SENTENCES), description="how many are added")

    def changed(self, text: str, rng: random.Random, keep: frozenset[str]) -> str:
        """The text among other sentences."""
        before, after = [], []
        for sentence in rng.sample(SENTENCES, self.sentences):
            (before if rng.random() < 0.5 else after).append(sentence)
        return " ".join([*before, text, *after])
