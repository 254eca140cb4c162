"""What a perturbation is: a text -> the changed text, from a seeded generator, with the words of the row's own answer left alone.

One decision: whether the right answer stays the same is a property of the perturbation. Where it does, a wrong answer is a fault of
the model and counts as a drop; where it may not (`negation`), only how often the answer changes is told.
"""

from __future__ import annotations

import random
import re
from typing import ClassVar

from pydantic import Field

from luthier.core.config import Config

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


class Perturbation(Config):
    """A subclass gives `kind: Literal[...]` with its name as default and `changed`.

    keeps_answer: whether the right answer is still right. language: of its lists; empty for any.
    """

    keeps_answer: ClassVar[bool] = True
    language: ClassVar[str] = ""
    version: ClassVar[int] = 1

    kind: str
    seed: int = Field(default=13, description="of every choice; a row's choices depend on it and on the row's key alone")

    @property
    def name(self) -> str:
        """What tables and reports call it: different for different changes of one kind."""
        return self.kind

    def __call__(self, text: str, key: str, keep: frozenset[str] = frozenset()) -> str:
        """The changed text, or the very same one where nothing can be changed. key: the row's. keep: words in lower case that stay."""
        return self.changed(text, random.Random(f"{self.kind}:{self.seed}:{key}"), keep)

    def changed(self, text: str, rng: random.Random, keep: frozenset[str]) -> str:
        """The changed text; every choice from `rng`."""
        raise NotImplementedError(f"{type(self).__name__} must define changed")


def words_of(text: str) -> frozenset[str]:
    """The words of a text, in lower case."""
    return frozenset(found.group().lower() for found in WORD.finditer(text))
