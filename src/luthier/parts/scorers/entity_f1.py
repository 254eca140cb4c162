"""Entity F1: are the found entities the wanted ones, by text and type?

One decision: the figure is micro F1 over all rows; an answer that is not a list of entities finds nothing and keeps
its reason. Matching is strict (whole text and type) and counts repeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.json_answer import NotJson, read_answer
from luthier.parts.scorers.overlap import Overlap
from luthier.parts.scorers.scorer import Score, refuse_unreadable_references
from luthier.parts.scorers.text import Normal, normalise


class EntityF1(Overlap):
    """Answers and references are JSON lists such as `[{"text": "Berlin", "type": "location"}]`; `[]` when there are none.

    A row's own score is its F1 (1 when nothing was wanted and nothing found).
    """

    tasks: ClassVar[tuple[str, ...]] = ("extract", "answer")

    kind: Literal["entity_f1"] = "entity_f1"
    normalise: Normal = "case"
    unwrap_fence: bool = True

    def __call__(self, example: Example, output: str) -> Score:
        try:
            wanted = self._entities(example.reference)
        except NotJson as err:
            must = 'a row scored by entity_f1 must have a JSON list of {"text", "type"} as its answer'
            raise UserError(must, str(err), str(example.source)) from None
        try:
            given = self._entities(output)
        except NotJson as err:
            return Score(0.0, {"right": 0, "found": 0, "wanted": wanted.total(), "reason": f"not a list of entities: {err}"})
        right, found, total = (wanted & given).total(), given.total(), wanted.total()
        value = 2 * right / (found + total) if found + total else 1.0
        return Score(value, {"right": right, "found": found, "wanted": total})

    def check(self, examples: Sequence[Example]) -> None:
        refuse_unreadable_references(self, examples)

    def _entities(self, text: str) -> Counter[tuple[str, str]]:
        value = read_answer(text, self.unwrap_fence)
        if not isinstance(value, list):
            raise NotJson(f"a list is wanted, got {type(value).__name__}")
        return Counter(self._entity(item, i) for i, item in enumerate(value, 1))

    def _entity(self, item: Any, place: int) -> tuple[str, str]:
        if not isinstance(item, dict) or not isinstance(item.get("text"), str) or not isinstance(item.get("type"), str):
            raise NotJson(f"entity {place} has no `text` and `type`")
        return normalise(item["text"], self.normalise), normalise(item["type"], self.normalise)

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """Micro precision and recall of these rows (0 when undefined), and the share of answers that could not be read."""
        right, found, wanted = self.counts(scores).sum(axis=0)
        unread = sum("reason" in s.details for s in scores)
        return {
            "precision": float(right / found) if found else 0.0,
            "recall": float(right / wanted) if wanted else 0.0,
            "unreadable": unread / len(scores) if scores else 0.0,
        }
