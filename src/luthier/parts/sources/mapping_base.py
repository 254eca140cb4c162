"""What every mapping shares: explicit column names, the optional columns, and faults with a reason.

One decision: a mapping never guesses and never fills in; a value that is missing, null, empty or of the
wrong type is a RowFault, which sets that one row aside with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.core.config import Config
from luthier.core.records import Message, Record, Source
from luthier.parts.sources.prompt import PromptTemplate

MAX_SHOWN = 40


class RowFault(ValueError):
    """Why one row cannot become a record."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a row is asked: the prompt template (None: the mapping's plain form) and the allowed labels (empty: any)."""

    template: PromptTemplate | None = None
    labels: tuple[str, ...] = ()


PLAIN = Asking()


@dataclass(frozen=True, slots=True)
class Converted:
    """The records of one row (several for a conversation tree) and the safe changes that were made to it."""

    records: tuple[Record, ...]
    changes: tuple[str, ...] = ()


class Columns(Config):
    """Optional columns of every mapping: `id` and `meta` are kept with the row, `group` ties rows, `weight` scales them."""

    id: str | None = None
    group: str | None = None
    weight: str | None = None
    meta: tuple[str, ...] = ()

    def required(self) -> tuple[str, ...]:
        """Columns that must exist in the file."""
        raise NotImplementedError

    def used(self) -> tuple[str, ...]:
        """Every column that the mapping reads."""
        extra = (self.id, self.group, self.weight, *self.meta)
        return (*self.required(), *(name for name in extra if name))

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """The row's records. Raises RowFault with the reason."""
        raise NotImplementedError

    def extras(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword values common to all records: group, weight, meta."""
        meta = {name: fields[name] for name in self.meta if fields.get(name) is not None}
        if self.id is not None and fields.get(self.id) not in (None, ""):
            meta["id"] = fields[self.id]
        group = fields.get(self.group) if self.group else None
        return {
            "group": None if group in (None, "") else name_of(group, self.group or ""),
            "weight": self._weight(fields),
            "meta": plain(meta),
        }

    def _weight(self, fields: Mapping[str, Any]) -> float:
        if self.weight is None:
            return 1.0
        value = present(fields, self.weight)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise RowFault(f"{self.weight} is {kind_of(value)}, not a number")
        try:
            weight = float(value)
        except (ValueError, OverflowError):
            raise RowFault(f"{self.weight} is not a number: {shown(value)}") from None
        if not math.isfinite(weight) or weight < 0:
            raise RowFault(f"{self.weight} must be finite and not negative, got {shown(value)}")
        return weight


def present(fields: Mapping[str, Any], column: str, name: str = "") -> Any:
    """The value of a column. Raises RowFault when it is missing or null."""
    if column not in fields:
        raise RowFault(f"{name or column} missing")
    if fields[column] is None:
        raise RowFault(f"{name or column} null")
    return fields[column]


def text_of(fields: Mapping[str, Any], column: str, name: str = "") -> str:
    """The column's text, unchanged. Raises RowFault when it is missing, null, not text, or blank."""
    value = present(fields, column, name)
    if not isinstance(value, str):
        raise RowFault(f"{name or column} is {kind_of(value)}, not text")
    if not value.strip():
        raise RowFault(f"empty {name or column}")
    return value


def optional_text(fields: Mapping[str, Any], column: str | None, name: str = "") -> str:
    """The column's text, or "" when the column is not mapped, missing, or null."""
    value = fields.get(column) if column else None
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowFault(f"{name or column} is {kind_of(value)}, not text")
    return value


def name_of(value: object, column: str) -> str:
    """A name: text as it stands, or a whole number written out. Raises RowFault."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise RowFault(f"{column} must be text or a whole number, got {shown(value)}")
    return str(value)


def kind_of(value: object) -> str:
    """A value's type in the words of a data file."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    for cls, word in ((str, "text"), ((int, float), "a number"), (Mapping, "an object"), ((list, tuple), "a list"), (bytes, "bytes")):
        if isinstance(value, cls):
            return word
    return "null" if value is None else f"a {type(value).__name__}"


def shown(value: object) -> str:
    """A short form of a value for a message."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def plain(value: Any) -> Any:
    """The value as JSON has it: what has no JSON form (dates, bytes) becomes text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def user_turn(system: str, text: str) -> tuple[Message, ...]:
    """A system message (when there is one) and a user message."""
    return (*((Message("system", system),) if system else ()), Message("user", text))


def asked(asking: Asking, fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """The template's messages, or () without a template. Raises RowFault for a column that the row lacks."""
    if asking.template is None:
        return ()
    for column in asking.template.columns():
        if fields.get(column) is None:
            raise RowFault(f"{column} {'null' if column in fields else 'missing'}: the prompt template needs it")
    return asking.template.render(fields, asking.labels)


def first_of(*names: str | None) -> Sequence[str]:
    """The names that are given."""
    return [n for n in names if n]


def content_fault(value: object, name: str) -> str:
    """The reason for a text that is missing, of the wrong type, or blank."""
    if value is None:
        return f"{name} missing"
    return f"empty {name}" if isinstance(value, str) else f"{name} is {kind_of(value)}, not text"
