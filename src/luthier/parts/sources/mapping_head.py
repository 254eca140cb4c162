"""Mappings for rows whose answer is several labels at once, or a number; and texts that come in pairs.

One decision: the answer is text like every other answer (a JSON list of labels in the order of their names, or the number
as it stands), so any model can be asked for it; an encoder's head reads the list or the number out of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from luthier.core.records import Example, Message, Source
from luthier.parts.sources.mapping_base import Asking, Columns, Converted, RowFault, asked, first_of, kind_of, present, shown, text_of


class Texts(Columns):
    """Text column(s), and the second column of a pair task."""

    text: str | tuple[str, ...] = Field(default="text", description="one column, or several that are joined by a line end")
    pair: str | None = Field(default=None, description="the second text of a pair task; an encoder reads the two as a pair")

    def texts(self) -> tuple[str, ...]:
        """The text columns."""
        return (self.text,) if isinstance(self.text, str) else self.text

    def columns(self) -> tuple[str, ...]:
        """Every text column that must exist."""
        return (*self.texts(), *first_of(self.pair))

    def asked(self, fields: Mapping[str, Any], asking: Asking) -> tuple[Message, ...]:
        """What is asked: the template's messages, or the text, or the two texts of a pair as a user turn each. Raises RowFault."""
        text = "\n".join(text_of(fields, column) for column in self.texts())
        second = None if self.pair is None else text_of(fields, self.pair)
        if asking.template is not None:
            return asked(asking, fields)
        if second is None:
            return (Message("user", text),)
        return (Message("user", text, name="text"), Message("user", second, name="pair"))


class MultiLabel(Texts):
    """Text and a column of labels: a list, or text in which `separator` stands between them. No label at all is an answer too."""

    kind: Literal["multi_label"] = "multi_label"
    labels: str = "labels"
    separator: str | None = Field(default=None, min_length=1, description="between the labels of a text column; None: a list")

    def required(self) -> tuple[str, ...]:
        return (*self.columns(), self.labels)

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example whose answer is a JSON list. Raises RowFault."""
        found = self._found(fields)
        twice = next((label for label in found if found.count(label) > 1), None)
        if twice is not None:
            raise RowFault(f"label {shown(twice)} stands twice")
        unknown = next((label for label in found if asking.labels and label not in asking.labels), None)
        if unknown is not None:
            raise RowFault(f"label {shown(unknown)} is not in the list of labels; {len(asking.labels)} labels are listed")
        words = [asking.template.words(label) if asking.template else label for label in found]
        answer = json.dumps(sorted(words), ensure_ascii=False)
        return Converted((Example((*self.asked(fields, asking), Message("assistant", answer)), source, **self.extras(fields)),))

    def _found(self, fields: Mapping[str, Any]) -> list[str]:
        value = fields.get(self.labels)
        if self.labels not in fields or value is None:
            raise RowFault(f"{self.labels} {'null' if self.labels in fields else 'missing'}")
        if self.separator is not None:
            if not isinstance(value, str):
                raise RowFault(f"{self.labels} is {kind_of(value)}, not text (a separator is given)")
            parts = [part.strip() for part in value.split(self.separator)] if value.strip() else []
        elif isinstance(value, (list, tuple)):
            parts = list(value)
        else:
            raise RowFault(f"{self.labels} is {kind_of(value)}, not a list (give `separator` for a text column)")
        bad = next((part for part in parts if not isinstance(part, str) or not part.strip()), "")
        if bad != "" or "" in parts:
            raise RowFault(f"a label must be text and not empty, got {shown(bad)}")
        return parts


class Regression(Texts):
    """Text and a column with a number."""

    kind: Literal["regression"] = "regression"
    target: str = "score"

    def required(self) -> tuple[str, ...]:
        return (*self.columns(), self.target)

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example whose answer is the number. Raises RowFault."""
        answer = self._number(present(fields, self.target))
        return Converted((Example((*self.asked(fields, asking), Message("assistant", answer)), source, **self.extras(fields)),))

    def _number(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise RowFault(f"{self.target} is {kind_of(value)}, not a number")
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise RowFault(f"{self.target} is not a number: {shown(value)}") from None
        if not math.isfinite(number):
            raise RowFault(f"{self.target} must be a finite number, got {shown(value)}")
        return value.strip() if isinstance(value, str) else repr(value)


def labels_of(answers: Sequence[str]) -> tuple[str, ...]:
    """The sorted set of the labels in answers of several labels."""
    return tuple(sorted({label for answer in answers for label in json.loads(answer)}))
