"""Mappings for preference rows and rated answers: chosen/rejected, OpenAI's preference format, KTO.

One decision: both answers must have one form and must differ, and KTO's label must be true or false: a text
such as "false" is never read as a truth value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from luthier.core.records import Message, Preference, Rating, Source
from luthier.parts.sources.mapping_base import Asking, Columns, Converted, RowFault, content_fault, first_of, kind_of, present, shown
from luthier.parts.sources.turns import check_conversation, check_tool_results, keys_of, parse_turns

_HH_TURN = re.compile(r"\n\n(Human|Assistant):")


class ChosenRejected(Columns):
    """chosen and rejected answers, as text or as turns; without `prompt` their common beginning is the prompt."""

    kind: Literal["preference"] = "preference"
    chosen: str = "chosen"
    rejected: str = "rejected"
    prompt: str | None = "prompt"

    def required(self) -> tuple[str, ...]:
        return (self.chosen, self.rejected)

    def used(self) -> tuple[str, ...]:
        return (*super().used(), *first_of(self.prompt))

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One preference. Raises RowFault."""
        chosen, rejected = present(fields, self.chosen, "chosen"), present(fields, self.rejected, "rejected")
        if _form(chosen) != _form(rejected):
            raise RowFault(f"types differ: chosen is {_form(chosen)}, rejected is {_form(rejected)}")
        changes: list[str] = []
        given = fields.get(self.prompt) if self.prompt else None
        if given is not None:
            prompt = _prompt(given, changes)
            good, bad = _answer(chosen, "chosen", changes), _answer(rejected, "rejected", changes)
        else:
            prompt, good, bad = _split_common(_whole(chosen, "chosen", changes), _whole(rejected, "rejected", changes))
        return Converted((_preference(prompt, good, bad, source, self.extras(fields)),), tuple(changes))


class OpenAIPreference(Columns):
    """OpenAI's format: `input` with messages, `preferred_output` and `non_preferred_output` as turns."""

    kind: Literal["openai_preference"] = "openai_preference"
    input: str = "input"
    preferred_output: str = "preferred_output"
    non_preferred_output: str = "non_preferred_output"

    def required(self) -> tuple[str, ...]:
        return (self.input, self.preferred_output, self.non_preferred_output)

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One preference. Raises RowFault."""
        changes: list[str] = []
        given = present(fields, self.input)
        if not isinstance(given, Mapping) or "messages" not in given:
            raise RowFault(f"{self.input} must be an object with messages")
        prompt = _prompt(given["messages"], changes)
        good = _answer(present(fields, self.preferred_output), self.preferred_output, changes)
        bad = _answer(present(fields, self.non_preferred_output), self.non_preferred_output, changes)
        return Converted((_preference(prompt, good, bad, source, self.extras(fields)),), tuple(changes))


class Kto(Columns):
    """A prompt, an answer and `label` true (good) or false; or `messages` whose last turn is the answer."""

    kind: Literal["kto"] = "kto"
    prompt: str | None = "prompt"
    completion: str = "completion"
    messages: str | None = None
    label: str = "label"

    def required(self) -> tuple[str, ...]:
        if self.messages:
            return (self.messages, self.label)
        return (*first_of(self.prompt), self.completion, self.label)

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One rating. Raises RowFault."""
        label = present(fields, self.label, "label")
        if not isinstance(label, bool):
            word = "a string" if isinstance(label, str) else kind_of(label)
            raise RowFault(f"label is {word} ({shown(label)}): true or false is wanted")
        changes: list[str] = []
        if self.messages:
            value = present(fields, self.messages)
            whole, changes = parse_turns(value, self.messages, keys_of(value))
            check_conversation(whole)
            prompt, answer = whole[:-1], whole[-1:]
        else:
            prompt = _prompt(present(fields, self.prompt or "prompt"), changes)
            answer = _answer(present(fields, self.completion), "completion", changes)
        return Converted((Rating(prompt, answer, label, source, **self.extras(fields)),), tuple(changes))


Turns = tuple[Message, ...]


def _form(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "a list of turns" if isinstance(value, (list, tuple)) else "a single turn" if isinstance(value, Mapping) else kind_of(value)


def _preference(prompt: Turns, good: Turns, bad: Turns, source: Source, extras: dict[str, Any]) -> Preference:
    if [(m.content, m.tool_calls) for m in good] == [(m.content, m.tool_calls) for m in bad]:
        raise RowFault("chosen equals rejected: nothing to prefer")
    if all(m.role != "user" for m in prompt):
        raise RowFault("no user turn in the prompt")
    check_tool_results((*prompt, *good))
    return Preference(prompt, good, bad, source, **extras)


def _prompt(value: Any, changes: list[str]) -> Turns:
    if isinstance(value, str):
        if not value.strip():
            raise RowFault("empty prompt")
        return (Message("user", value),)
    messages, made = parse_turns(value, "prompt", keys_of(value))
    changes += made
    return messages


def _answer(value: Any, name: str, changes: list[str]) -> Turns:
    if isinstance(value, str) or value is None:
        if value is None or not value.strip():
            raise RowFault(content_fault(value, name))
        return (Message("assistant", value),)
    turns = [value] if isinstance(value, Mapping) else value
    messages, made = parse_turns(turns, name, keys_of(turns))
    changes += made
    if messages[-1].role != "assistant":
        raise RowFault(f"{name} ends with {messages[-1].role}: it must be the assistant's answer")
    return messages


def _whole(value: Any, name: str, changes: list[str]) -> Turns:
    """A whole conversation: turns, or text in the `Human: ... Assistant: ...` form."""
    if isinstance(value, str):
        return _transcript(value, name)
    messages = _answer(value, name, changes)
    check_conversation(messages)
    return messages


def _transcript(text: str, name: str) -> Turns:
    if not text.strip():
        raise RowFault(f"empty {name}")
    marks = list(_HH_TURN.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        raise RowFault(f"no prompt: map a prompt column, or give {name} as turns or as a Human/Assistant transcript")
    out: list[Message] = []
    for mark, end in zip(marks, [*(m.start() for m in marks[1:]), len(text)], strict=True):
        content = text[mark.end() : end].strip()
        if not content:
            raise RowFault(f"{name}: empty {mark.group(1)} turn")
        out.append(Message("user" if mark.group(1) == "Human" else "assistant", content))
    check_conversation(out)
    return tuple(out)


def _split_common(chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """(common turns at the beginning, the rest of each)."""
    n = 0
    while n < min(len(chosen), len(rejected)) and chosen[n] == rejected[n]:
        n += 1
    if n == len(chosen) == len(rejected):
        raise RowFault("chosen equals rejected: nothing to prefer")
    while n and (chosen[n - 1].role == "assistant" or n >= min(len(chosen), len(rejected))):
        n -= 1
    if not n:
        raise RowFault("chosen and rejected have no common beginning: there is no prompt")
    return chosen[:n], chosen[n:], rejected[n:]
