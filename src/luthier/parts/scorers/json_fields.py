"""Field match: which fields of a JSON answer are right, value by value?

One decision: an object is taken apart to its leaves (`address.city`, `items[0].price`), and the figure is micro F1 over the
leaves of all rows, so a field left out and a field made up both cost. Numbers are compared as numbers, texts after `normalise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.json_answer import NotJson, read_answer
from luthier.parts.scorers.overlap import Overlap
from luthier.parts.scorers.scorer import Score, refuse_unreadable_references
from luthier.parts.scorers.text import Normal, normalise


class JsonFields(Overlap):
    """Answers and references are JSON objects. A row's own score is its F1 (1 when nothing was wanted and nothing given)."""

    kind: Literal["json_fields"] = "json_fields"
    fields: tuple[str, ...] = Field(default=(), description="the top-level fields that count; all when empty")
    normalise: Normal = Field(default="spaces", description="how texts are made comparable")
    unwrap_fence: bool = Field(default=True, description="one Markdown fence around the whole answer is taken off")

    def __call__(self, example: Example, output: str) -> Score:
        try:
            wanted = self._leaves(example.reference)
        except NotJson as err:
            raise UserError("a row scored by json_fields must have a JSON object as its answer", str(err), str(example.source)) from None
        try:
            given = self._leaves(output)
        except NotJson as err:
            return Score(0.0, {"right": 0, "found": 0, "wanted": len(wanted), "reason": f"not an object: {err}"})
        right = sum(path in given and given[path] == value for path, value in wanted.items())
        size = len(wanted) + len(given)
        wrong = sorted(p for p in wanted.keys() | given.keys() if wanted.get(p) != given.get(p))
        return Score(2 * right / size if size else 1.0, {"right": right, "found": len(given), "wanted": len(wanted), "wrong": wrong[:20]})

    def check(self, examples: Sequence[Example]) -> None:
        refuse_unreadable_references(self, examples)

    def _leaves(self, text: str) -> dict[str, tuple[str, Any]]:
        value = read_answer(text, self.unwrap_fence)
        if not isinstance(value, dict):
            raise NotJson(f"an object is wanted, got {type(value).__name__}")
        kept = {k: v for k, v in value.items() if not self.fields or k in self.fields}
        return dict(self._walk(kept, ""))

    def _walk(self, value: Any, path: str) -> Iterator[tuple[str, tuple[str, Any]]]:
        if isinstance(value, dict) and (value or not path):
            for key, inner in value.items():
                yield from self._walk(inner, f"{path}.{key}" if path else key)
        elif isinstance(value, list) and value:
            for i, inner in enumerate(value):
                yield from self._walk(inner, f"{path}[{i}]")
        else:
            yield path, self._leaf(value)

    def _leaf(self, value: Any) -> tuple[str, Any]:
        """A value with its JSON type, so that `true`, `1` and `"1"` stay three; 1 and 1.0 are one number."""
        if isinstance(value, str):
            return "text", normalise(value, self.normalise)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return "number", value
        return type(value).__name__, repr(value)

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """The shares of answers that were right in every field, and that were no object."""
        if not scores:
            return {}
        return {
            "all_right": sum(s.value == 1.0 for s in scores) / len(scores),
            "unreadable": sum("reason" in s.details for s in scores) / len(scores),
        }
