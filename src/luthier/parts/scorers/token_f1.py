"""Token F1: how many words the answer shares with the wanted one (Rajpurkar et al. 2016, SQuAD)."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from luthier.core.records import Example
from luthier.parts.scorers.scorer import Score, Scorer
from luthier.parts.scorers.text import normalise, words


class TokenF1(Scorer):
    """Harmonic mean of word precision and recall; without words on a side, 1 when the texts are equal."""

    kind: Literal["token_f1"] = "token_f1"

    def __call__(self, example: Example, output: str) -> Score:
        wanted, given = Counter(words(example.reference)), Counter(words(output))
        shared = (wanted & given).total()
        if not wanted or not given:
            same = normalise(output, "case") == normalise(example.reference, "case")
            return Score(float(same), {"precision": float(same), "recall": float(same)})
        precision, recall = shared / given.total(), shared / wanted.total()
        value = 2 * shared / (given.total() + wanted.total())
        return Score(value, {"precision": precision, "recall": recall})
