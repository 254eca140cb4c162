"""What the scorers of rankings share: reading a row's wanted order and the answered one.

One decision: a row's own answer is a JSON list, the best item first, or an object of items and their relevance; an answer is
a JSON list. An item that the answer does not name comes after all that it names, one that the row does not have takes up its
place and is worth nothing, and only the first place of an item counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.json_answer import NotJson, read_answer
from luthier.parts.scorers.scorer import Score, Scorer


class RankingScorer(Scorer):
    """Base: a row's score is `value(relevance, order)`; an answer that is no list scores 0 and keeps its reason."""

    tasks: ClassVar[tuple[str, ...]] = ("rank",)

    def __call__(self, example: Example, output: str) -> Score:
        relevance = self._wanted(example)
        try:
            order = _items(read_answer(output))
        except NotJson as err:
            return Score(0.0, {"reason": f"not a list of items: {err}"})
        return Score(self.value(relevance, order), {"named": sum(item in relevance for item in order), "items": len(relevance)})

    def value(self, relevance: dict[str, float], order: Sequence[str]) -> float:
        """In [0, 1]. relevance: of each item of the row, above 0 for at least one; order: the answer's items, each once, best first."""
        raise NotImplementedError(f"{type(self).__name__} must define value")

    def _wanted(self, example: Example) -> dict[str, float]:
        must = (
            f"a row scored by {self.kind} must have a JSON list of at least two items, or an object of items and relevance, as its answer"
        )
        try:
            found = read_answer(example.reference)
            if isinstance(found, dict):
                relevance = {item.strip(): _relevance(item, value) for item, value in found.items()}
            else:
                items = _items(found)
                if len(items) < len(found):
                    raise NotJson("an item stands twice")
                relevance = {item: float(len(items) - place) for place, item in enumerate(items)}
            if len(relevance) < 2 or len(set(relevance.values())) < 2:
                raise NotJson("there is no order in it")
        except NotJson as err:
            raise UserError(must, str(err), str(example.source)) from None
        return relevance


def _items(found: object) -> list[str]:
    """The different items of a list, in order. Raises NotJson."""
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise NotJson(f"a list of texts is wanted, got {'other items' if isinstance(found, list) else type(found).__name__}")
    return list(dict.fromkeys(item.strip() for item in found))


def _relevance(item: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:
        raise NotJson(f"the relevance of {item!r} must be a number from 0, got {value!r}")
    return float(value)
