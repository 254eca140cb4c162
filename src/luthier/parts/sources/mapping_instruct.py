"""Mappings for rows with a prompt and an answer in columns: prompt/completion, Alpaca, Dolly, text, labels, entities.

One decision: a label is text that is kept as it stands (a whole number is written out); the words of a prompt
template's `label_text` replace it once, here, so that every later stage sees one spelling.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from luthier.core.errors import did_you_mean, nearest
from luthier.core.records import Example, Message, Source, Text
from luthier.parts.sources.mapping_base import (
    Asking,
    Columns,
    Converted,
    RowFault,
    asked,
    first_of,
    kind_of,
    optional_text,
    present,
    shown,
    text_of,
    user_turn,
)
from luthier.parts.sources.mapping_head import Texts


class PromptCompletion(Columns):
    """A prompt column and an answer column; with a prompt template the user message is the template's."""

    kind: Literal["prompt_completion"] = "prompt_completion"
    prompt: str = "prompt"
    completion: str = "completion"
    system: str | None = None

    def required(self) -> tuple[str, ...]:
        return (self.prompt, self.completion)

    def used(self) -> tuple[str, ...]:
        return (*super().used(), *first_of(self.system))

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example. Raises RowFault."""
        prompt, answer = text_of(fields, self.prompt), text_of(fields, self.completion)
        turns = asked(asking, fields) or user_turn(optional_text(fields, self.system), prompt)
        return Converted((Example((*turns, Message("assistant", answer)), source, **self.extras(fields)),))


class Alpaca(Columns):
    """instruction, input, output, and (when present) system and history (pairs of question and answer)."""

    kind: Literal["alpaca"] = "alpaca"
    instruction: str = "instruction"
    input: str | None = "input"
    output: str = "output"
    system: str | None = "system"
    history: str | None = "history"

    def required(self) -> tuple[str, ...]:
        return (self.instruction, self.output)

    def used(self) -> tuple[str, ...]:
        return (*super().used(), *first_of(self.input, self.system, self.history))

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example; the user message is the instruction, an empty line, and the input when there is one."""
        instruction, output = text_of(fields, self.instruction), text_of(fields, self.output)
        extra = optional_text(fields, self.input)
        text = f"{instruction}\n\n{extra}" if extra.strip() else instruction
        first, *_ = turns = asked(asking, fields) or user_turn(optional_text(fields, self.system), text)
        system = (first,) if first.role == "system" else ()
        history = _history(fields.get(self.history) if self.history else None)
        messages = (*system, *history, turns[-1], Message("assistant", output))
        return Converted((Example(messages, source, **self.extras(fields)),))


def _history(value: Any) -> tuple[Message, ...]:
    if value is None or value == "":
        return ()
    if not isinstance(value, (list, tuple)):
        raise RowFault(f"history is {kind_of(value)}, not a list of pairs")
    out: list[Message] = []
    for i, pair in enumerate(value, 1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(t, str) and t.strip() for t in pair):
            raise RowFault(f"history entry {i} must be a pair of question and answer, both text")
        out += [Message("user", pair[0]), Message("assistant", pair[1])]
    return tuple(out)


class Dolly(Columns):
    """instruction, context, response; the user message is the context, an empty line, and the instruction."""

    kind: Literal["dolly"] = "dolly"
    instruction: str = "instruction"
    context: str | None = "context"
    response: str = "response"

    def required(self) -> tuple[str, ...]:
        return (self.instruction, self.response)

    def used(self) -> tuple[str, ...]:
        return (*super().used(), *first_of(self.context))

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example. Raises RowFault."""
        instruction, response = text_of(fields, self.instruction), text_of(fields, self.response)
        context = optional_text(fields, self.context)
        turns = asked(asking, fields) or (Message("user", f"{context}\n\n{instruction}" if context.strip() else instruction),)
        return Converted((Example((*turns, Message("assistant", response)), source, **self.extras(fields)),))


class PlainText(Columns):
    """One column of text, for continued pre-training; the rows of a plain text file (.txt, .md) are cut as `document` says."""

    kind: Literal["text"] = "text"
    text: str = "text"
    document: Literal["file", "paragraph", "line"] = Field(
        default="file", description="what a row is in a plain text file: the whole file, what stands between blank lines, or a line"
    )

    def required(self) -> tuple[str, ...]:
        return (self.text,)

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One text. Raises RowFault."""
        return Converted((Text(text_of(fields, self.text), source, **self.extras(fields)),))


class Classification(Texts):
    """Text column(s) and a label column; without a prompt template the user message is the text itself."""

    kind: Literal["classification"] = "classification"
    label: str = "label"

    def required(self) -> tuple[str, ...]:
        return (*self.columns(), self.label)

    def label_of(self, fields: Mapping[str, Any]) -> str:
        """The label as it stands in the data. Raises RowFault."""
        return label_text(present(fields, self.label, "label"))

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example whose answer is the label. Raises RowFault."""
        turns = self.asked(fields, asking)
        label = self.label_of(fields)
        if asking.labels and label not in asking.labels:
            close = nearest(label, asking.labels)
            hint = (
                f"did you mean {close[0]!r}?" if close else f"{len(asking.labels)} labels are listed, {shown(asking.labels[0])} the first"
            )
            raise RowFault(f"label {shown(label)} is not in the list of labels; {hint}")
        words = asking.template.words(label) if asking.template else label
        extras = self.extras(fields)
        if words != label:
            extras["meta"] = {**extras["meta"], "label": label}
        return Converted((Example((*turns, Message("assistant", words)), source, label=words, **extras),))


def label_text(value: Any) -> str:
    """A label as text: text as it stands, a whole number or true/false written out. Raises RowFault."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if math.isnan(value):
            raise RowFault("label is NaN")
        if not value.is_integer():
            raise RowFault(f"label is {value}: a label must be text or a whole number")
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise RowFault(f"label is {kind_of(value)}, not text")
    if not value.strip():
        raise RowFault("label empty")
    return value


class Entities(Columns):
    """Tokens with BIO tags; the answer is JSON: a list of `{"text", "type"}` in order. `tag_names` names number tags."""

    kind: Literal["entities"] = "entities"
    tokens: str = "tokens"
    tags: str = "ner_tags"
    tag_names: tuple[str, ...] = ()

    def required(self) -> tuple[str, ...]:
        return (self.tokens, self.tags)

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example. The prompt is the tokens joined by spaces (column `text` for a template). Raises RowFault."""
        tokens = _strings(present(fields, self.tokens), self.tokens)
        tags = [self._tag(t) for t in _list(present(fields, self.tags), self.tags)]
        if len(tokens) != len(tags) or not tokens:
            raise RowFault(f"{len(tokens)} tokens and {len(tags)} tags: as many of both are wanted, at least one")
        found, changes = entities_of(tokens, tags)
        text = " ".join(tokens)
        turns = asked(asking, {**fields, "text": text}) or (Message("user", text),)
        answer = json.dumps(found, ensure_ascii=False)
        return Converted((Example((*turns, Message("assistant", answer)), source, **self.extras(fields)),), changes)

    def _tag(self, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            if not 0 <= value < len(self.tag_names):
                raise RowFault(f"tag {value} has no name: give tag_names for number tags")
            return self.tag_names[value]
        if not isinstance(value, str):
            raise RowFault(f"a tag is {kind_of(value)}, not text")
        return value


def entities_of(tokens: Sequence[str], tags: Sequence[str]) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """(entities in order, changes) from BIO tags; an I- tag that continues nothing begins an entity, announced."""
    spans: list[tuple[str, list[str]]] = []
    changes: list[str] = []
    open_type = ""
    for i, (token, tag) in enumerate(zip(tokens, tags, strict=True), 1):
        if tag == "O":
            open_type = ""
            continue
        prefix, dash, kind = tag.partition("-")
        if prefix not in ("B", "I") or not dash or not kind:
            raise RowFault(f"tag {shown(tag)} of token {i} is not O, B-type or I-type; {did_you_mean(tag, tags)}"[:200])
        if prefix == "I" and kind == open_type:
            spans[-1][1].append(token)
            continue
        if prefix == "I":
            changes.append(f"tag {tag} of token {i} continues nothing: read as B-{kind}")
        spans.append((kind, [token]))
        open_type = kind
    return [{"text": " ".join(words), "type": kind} for kind, words in spans], tuple(changes)


def _list(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise RowFault(f"{name} is {kind_of(value)}, not a list")
    return value


def _strings(value: Any, name: str) -> list[str]:
    items = list(_list(value, name))
    bad = next((v for v in items if not isinstance(v, str) or not v), None)
    if bad is not None or None in items:
        raise RowFault(f"{name} must be a list of text, none of it empty")
    return items
