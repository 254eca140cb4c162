"""Valid JSON: the answer can be read by a program, and has the keys it must have."""

from __future__ import annotations

from typing import ClassVar, Literal

from luthier.core.records import Example
from luthier.parts.scorers.json_answer import NotJson, read_answer
from luthier.parts.scorers.scorer import Measure, Score, Scorer


class ValidJson(Scorer):
    """1 when the output is JSON of the wanted `type` and, for an object, has every key of `keys`."""

    measure: ClassVar[Measure] = "binary"
    needs_reference: ClassVar[bool] = False

    kind: Literal["valid_json"] = "valid_json"
    type: Literal["any", "object", "array"] = "any"
    keys: tuple[str, ...] = ()
    unwrap_fence: bool = True

    def __call__(self, example: Example, output: str) -> Score:
        try:
            value = read_answer(output, self.unwrap_fence)
        except NotJson as err:
            return Score(0.0, {"reason": str(err)})
        wanted = {"any": object, "object": dict, "array": list}["object" if self.keys else self.type]
        if not isinstance(value, wanted):
            return Score(0.0, {"reason": f"{'an object' if wanted is dict else 'an array'} is wanted, got {type(value).__name__}"})
        missing = [k for k in self.keys if k not in value]
        return Score(float(not missing), {"reason": f"missing keys: {', '.join(missing)}"} if missing else {})
