"""JSON schema: does the answer hold to a JSON Schema? Judged by the `jsonschema` library, draft 2020-12 unless it says another.

One decision: a schema is never fetched. A `$ref` must stay inside the schema, or scoring would depend on a network.
"""

from __future__ import annotations

import functools
import json
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from luthier.core.errors import MachineError, UserError
from luthier.core.records import Example
from luthier.parts.scorers.json_answer import NotJson, read_answer
from luthier.parts.scorers.scorer import Measure, Score, Scorer


class JsonSchemaMatch(Scorer):
    """1 when the answer is JSON that the schema allows; the first fault and its place are kept as the reason."""

    measure: ClassVar[Measure] = "binary"
    needs_reference: ClassVar[bool] = False

    kind: Literal["json_schema"] = "json_schema"
    definition: dict[str, Any] = Field(description="the JSON Schema, as a mapping")
    unwrap_fence: bool = Field(default=True, description="one Markdown fence around the whole answer is taken off")

    @field_validator("definition")
    @classmethod
    def _stays_inside(cls, definition: dict[str, Any]) -> dict[str, Any]:
        for ref in _references(definition):
            if not ref.startswith("#"):
                raise ValueError(f"a `$ref` must stay inside the schema (`#/...`), got {ref!r}")
        return definition

    def __call__(self, example: Example, output: str) -> Score:
        validator = _validator(json.dumps(self.definition, sort_keys=True))
        try:
            value = read_answer(output, self.unwrap_fence)
        except NotJson as err:
            return Score(0.0, {"reason": str(err)})
        fault = next(iter(validator.iter_errors(value)), None)
        return Score(1.0) if fault is None else Score(0.0, {"reason": f"{fault.json_path}: {fault.message[:300]}"})


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [v for k, v in value.items() if k in ("$ref", "$dynamicRef") and isinstance(v, str)]
        return own + [r for v in value.values() for r in _references(v)]
    return [r for v in value for r in _references(v)] if isinstance(value, list) else []


@functools.lru_cache(maxsize=16)
def _validator(definition: str) -> Any:
    try:
        from jsonschema import SchemaError, validators
    except ImportError:
        raise MachineError("a JSON Schema needs jsonschema: pip install 'luthier[eval]'") from None
    schema = json.loads(definition)
    cls = validators.validator_for(schema, default=validators.Draft202012Validator)  # type: ignore[attr-defined]
    try:
        cls.check_schema(schema)
    except SchemaError as err:
        raise UserError("a JSON Schema must be valid", f"{err.json_path}: {err.message[:200]}", "json_schema.definition") from None
    return cls(schema)
