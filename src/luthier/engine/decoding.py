"""How answers are made, as data (no torch and no numpy: a project file is checked with it)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from luthier.core.config import Config

_DRAWN = ("top_k", "top_p", "min_p")


class Decoding(Config):
    """How answers are made: scored over the label list, or generated as text.

    A generated answer ends at the model's end of turn, before a stop string, or at `max_new_tokens`; each answer records which.
    """

    kind: Literal["labels", "text"] = "text"
    max_new_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    seed: int = Field(default=0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = Field(
        default=None, json_schema_extra={"anyOf": [{"type": "object"}, {"type": "string"}, {"type": "null"}]}
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _readable(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if not all(stop):
            raise ValueError("a stop string must not be empty: it would end every answer before it begins")
        if any("\ufffd" in text for text in stop):
            raise ValueError("a stop string must be of whole characters, got U+FFFD")
        return stop

    @model_validator(mode="after")
    def _has_an_effect(self) -> Decoding:
        given = [name for name in _DRAWN if getattr(self, name) != type(self).model_fields[name].default]
        if given and self.temperature == 0.0:
            raise ValueError(f"temperature must be above 0 for {given[0]} to mean anything: 0 always takes the most likely token")
        if self.kind == "labels" and (given or self.stop or self.json_schema is not None or self.repetition_penalty != 1.0):
            raise ValueError("`kind: labels` scores the labels and generates nothing: leave the other settings out, or use `kind: text`")
        return self
