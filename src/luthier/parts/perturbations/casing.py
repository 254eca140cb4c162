"""Casing: the same words in capitals, in small letters, or in a mixture of both."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from luthier.parts.perturbations.contract import WORD, Perturbation


class Casing(Perturbation):
    """Every word `to` upper or lower case, or each letter of it as it falls (`mixed`)."""

    kind: Literal["casing"] = "casing"
    to: Literal["upper", "lower", "mixed"] = Field(default="upper", description="what every word becomes")

    @property
    def name(self) -> str:
        return self.kind if self.to == "upper" else f"{self.kind}_{self.to}"

    def changed(self, text: str, rng: random.Random, keep: frozenset[str]) -> str:
        """The text in the other case."""
        turn: dict[str, Callable[[str], str]] = {
            "upper": str.upper,
            "lower": str.lower,
            "mixed": lambda word: "".join(rng.choice((c.upper(), c.lower())) for c in word),
        }
        return WORD.sub(lambda w: w.group() if w.group().lower() in keep else turn[self.to](w.group()), text)
