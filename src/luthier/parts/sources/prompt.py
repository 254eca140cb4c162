"""The prompt template: how a row's columns become a system and a user message.

One decision: only `{column}` and `{labels}` are placeholders and a literal brace is doubled; nothing else of
Python's formatting works, so text in a template can never reach into objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from luthier.core.config import Config
from luthier.core.errors import UserError, did_you_mean
from luthier.core.records import Message

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
LABELS = "labels"


class PromptTemplate(Config):
    """`user` (and `system`) with `{column}` and `{labels}`; `label_text` gives the words shown and trained for a label."""

    user: str = Field(min_length=1, description="the user message, with {column} placeholders")
    system: str = Field(default="", description="the system message, with the same placeholders")
    labels_join: str = Field(default=", ", description="what stands between two labels in {labels}")
    label_text: dict[str, str] = Field(default={}, description="label in the data -> words that the model sees and answers")

    @model_validator(mode="after")
    def _check(self) -> PromptTemplate:
        for name in ("user", "system"):
            for match in _PIECE.finditer(getattr(self, name)):
                if match.group() in ("{", "}") or match.group(1) == "":
                    raise ValueError(
                        f"a literal brace is written {{{{ or }}}}, got a single one at character {match.start() + 1} of `{name}`"
                    )
        words = list(self.label_text.values())
        if len(set(words)) < len(words) or not all(w.strip() for w in words):
            raise ValueError("label_text must give each label its own words, not empty")
        return self

    def placeholders(self) -> tuple[str, ...]:
        """The names between braces, in order, each once."""
        found = [m.group(1) for text in (self.system, self.user) for m in _PIECE.finditer(text) if m.group(1)]
        return tuple(dict.fromkeys(found))

    def columns(self) -> tuple[str, ...]:
        """The placeholders that are columns."""
        return tuple(p for p in self.placeholders() if p != LABELS)

    def check_columns(self, columns: Iterable[str], where: str = "prompt") -> None:
        """Raise UserError for a placeholder that is neither a column nor `{labels}`."""
        known = [*columns, LABELS]
        for name in self.columns():
            if name not in known:
                raise UserError("a placeholder must be a column of the data or {labels}", f"{{{name}}}", where, did_you_mean(name, known))

    def words(self, label: str) -> str:
        """The words shown for a label."""
        return self.label_text.get(label, label)

    def render(self, fields: Mapping[str, Any], labels: Sequence[str] = ()) -> tuple[Message, ...]:
        """The messages of one row. Raises KeyError for a column that the row lacks."""
        shown = self.labels_join.join(self.words(label) for label in labels)
        user = Message("user", _fill(self.user, fields, shown))
        return (Message("system", _fill(self.system, fields, shown)), user) if self.system else (user,)


def _fill(text: str, fields: Mapping[str, Any], labels: str) -> str:
    def piece(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return match.group()[0]
        value = labels if name == LABELS else fields[name]
        return value if isinstance(value, str) else str(value)

    return _PIECE.sub(piece, text)
