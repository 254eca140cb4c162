"""Punctuation: the marks at the ends of words and sentences left out, as people write on a phone."""

from __future__ import annotations

import random
import re
from typing import Literal

from luthier.parts.perturbations.contract import Perturbation

_MARKS = re.compile(r"(?<=\w)[.,;:!?]+(?=\s|$)")


class Punctuation(Perturbation):
    """Full stops, commas, colons, question and exclamation marks after a word are left out; those inside numbers stay."""

    kind: Literal["punctuation"] = "punctuation"

    def changed(self, text: str, rng: random.Random, keep: frozenset[str]) -> str:
        """The text without marks."""
        return _MARKS.sub("", text)
