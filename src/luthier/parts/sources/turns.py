"""A list of chat turns as messages: roles, content, tool calls, and the order that can be trained on.

One decision: a conversation must hold a user turn and end with an answer; how the turns alternate before
that is reported by a check and not judged here, for real conversations do both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.core.records import ROLES, Message
from luthier.parts.sources.mapping_base import RowFault, kind_of, plain, shown
from luthier.parts.sources.strict_json import BadJson, parse_json

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of role and content inside a turn."""

    role: str
    content: str
    sharegpt: bool = False


OPENAI_KEYS = Keys("role", "content")
SHAREGPT_KEYS = Keys("from", "value", sharegpt=True)


def keys_of(turns: Any) -> Keys:
    """Which of the two forms a list of turns (or a single turn) has."""
    first = turns[0] if isinstance(turns, (list, tuple)) and turns else turns
    return SHAREGPT_KEYS if isinstance(first, Mapping) and "from" in first and "role" not in first else OPENAI_KEYS


def parse_turns(value: Any, name: str, keys: Keys = OPENAI_KEYS) -> tuple[tuple[Message, ...], list[str]]:
    """(messages, changes made). Raises RowFault; the order of turns is judged by `check_conversation`."""
    if not isinstance(value, (list, tuple)):
        raise RowFault(f"{name} is {kind_of(value)}, not a list of objects")
    if not value:
        raise RowFault(f"no {name}: the list is empty")
    messages: list[Message] = []
    changes: list[str] = []
    for i, turn in enumerate(value, 1):
        where = f"turn {i}"
        if not isinstance(turn, Mapping):
            raise RowFault(f"{name} is not a list of objects: {where} is {kind_of(turn)}")
        role = _role(turn, keys, where, changes)
        messages.append(_sharegpt_turn(turn, role, messages, where) if keys.sharegpt else _turn(turn, role, where))
    return tuple(messages), changes


def check_conversation(messages: Sequence[Message]) -> None:
    """Raise RowFault unless there is a user turn, an answer at the end, and every tool result has its call."""
    roles = [m.role for m in messages]
    if "user" not in roles:
        raise RowFault("no user turn: nothing to learn from" if "assistant" not in roles else "no user (human) turn")
    if roles[-1] != "assistant":
        fix = "wrong order: " if "assistant" in roles and roles[0] == "assistant" else ""
        raise RowFault(f"{fix}ends with {roles[-1]}: the last turn must be the assistant's answer")
    answers = [m for m in messages if m.role == "assistant"]
    if all(m.weight == 0 for m in answers):
        raise RowFault("every assistant turn has weight 0: nothing to learn from")
    check_tool_results(messages)


def check_tool_results(messages: Sequence[Message]) -> None:
    """Raise RowFault for a tool result whose call was never made."""
    open_calls: set[str] = set()
    called = False
    for i, message in enumerate(messages, 1):
        for call in message.tool_calls:
            called = True
            open_calls.add(str(call.get("id", "")))
        if message.role == "tool" and (not called or (message.tool_call_id and message.tool_call_id not in open_calls)):
            which = f" `{message.tool_call_id[:MAX_ID]}`" if message.tool_call_id else ""
            raise RowFault(f"tool result without call: turn {i} answers call{which}, which was never made")


MAX_ID, MAX_WEIGHT = 60, 1_000_000


def _role(turn: Mapping[str, Any], keys: Keys, where: str, changes: list[str]) -> str:
    given = turn.get(keys.role)
    if keys.role not in turn or given is None:
        raise RowFault(f"{keys.role} missing in {where}")
    if not isinstance(given, str):
        raise RowFault(f"{keys.role} is {kind_of(given)}, not text, in {where}")
    word = given.strip().lower()
    role = SHAREGPT_ROLES.get(word, "") if keys.sharegpt else ("system" if word == "developer" else word)
    if role not in ROLES:
        kind, allowed = ("speaker", sorted(SHAREGPT_ROLES)) if keys.sharegpt else ("role", list(ROLES))
        raise RowFault(f"unknown {kind} {given[:MAX_ID]!r} in {where}; allowed: {', '.join(allowed)}")
    if given != word or word == "developer":
        changes.append(f"role {given!r} in {where} read as {role!r}")
    return role


def _turn(turn: Mapping[str, Any], role: Any, where: str) -> Message:
    calls = _tool_calls(turn.get("tool_calls"), where)
    if calls and role != "assistant":
        raise RowFault(f"tool calls in {where} belong to an assistant turn, not to {role}")
    if "content" not in turn and not calls:
        raise RowFault(f"content missing in {where}")
    content = content_of(turn.get("content"), where, may_be_null=bool(calls))
    if not content.strip() and not calls and role in ("user", "assistant"):
        raise RowFault(f"empty {role} turn ({where})")
    call_id, speaker = turn.get("tool_call_id"), turn.get("name")
    if call_id is not None and not isinstance(call_id, str):
        raise RowFault(f"tool_call_id is {kind_of(call_id)}, not text, in {where}")
    return Message(role, content, _turn_weight(turn, where), calls, call_id, speaker if isinstance(speaker, str) else None)


def _turn_weight(turn: Mapping[str, Any], where: str) -> float | None:
    value = turn.get("weight", turn.get("loss_weight"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_WEIGHT:
        raise RowFault(f"weight in {where} must be a number from 0 to {MAX_WEIGHT:,}, got {shown(value)}")
    return float(value)


def content_of(value: Any, where: str, may_be_null: bool = False) -> str:
    """A turn's text: a string, or a list of text parts put together. Raises RowFault for anything else."""
    if isinstance(value, str):
        return value
    if value is None:
        if may_be_null:
            return ""
        raise RowFault(f"content is null in {where}")
    if not isinstance(value, (list, tuple)):
        raise RowFault(f"content is not text in {where}: it is {kind_of(value)}")
    pieces: list[str] = []
    for i, part in enumerate(value, 1):
        text = part.get("text", part.get("value")) if isinstance(part, Mapping) and part.get("type") == "text" else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else kind_of(part)
            raise RowFault(f"content is not text in {where}: part {i} is {shown(kind)}, only text parts are read")
        pieces.append(text)
    return "".join(pieces)


def _tool_calls(value: Any, where: str) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise RowFault(f"tool_calls is {kind_of(value)}, not a list, in {where}")
    calls: list[dict[str, Any]] = []
    for i, call in enumerate(value, 1):
        function = call.get("function") if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
            raise RowFault(f"tool call {i} in {where} must have a function with a name")
        arguments = _arguments(function.get("arguments"), f"tool call {i} in {where}")
        calls.append({"id": str(call.get("id") or f"call_{i}"), "type": "function", "function": {"name": name, "arguments": arguments}})
    return tuple(calls)


def _arguments(value: Any, where: str) -> dict[str, Any]:
    """Arguments as an object (the wire format has them as JSON text; chat templates want the object)."""
    if isinstance(value, str):
        try:
            value = parse_json(value or "{}")
        except BadJson as err:
            raise RowFault(f"arguments are not JSON in {where}: {err}") from None
    if not isinstance(value, Mapping):
        raise RowFault(f"arguments are {kind_of(value)}, not an object, in {where}")
    return plain(value)


def _sharegpt_turn(turn: Mapping[str, Any], role: Any, before: Sequence[Message], where: str) -> Message:
    if "value" not in turn:
        raise RowFault(f"value missing in {where}")
    content = content_of(turn["value"], where)
    if not content.strip() and role in ("user", "assistant"):
        raise RowFault(f"empty {role} turn ({where})")
    if str(turn["from"]).strip().lower() == "function_call":
        number = 1 + sum(len(m.tool_calls) for m in before)
        return Message(role, "", _turn_weight(turn, where), _sharegpt_calls(content, number, where))
    call_id = None
    if role == "tool":
        made = [str(c["id"]) for m in before for c in m.tool_calls]
        call_id = made[-1] if made else None
    return Message(role, content, _turn_weight(turn, where), (), call_id)


def _sharegpt_calls(content: str, number: int, where: str) -> tuple[dict[str, Any], ...]:
    try:
        value = parse_json(content)
    except BadJson as err:
        raise RowFault(f"the function call is not JSON in {where}: {err}") from None
    calls = value if isinstance(value, list) else [value]
    wrapped = [{"id": f"call_{number + i}", "function": c} for i, c in enumerate(calls)]
    return _tool_calls(wrapped, where)


def parse_tools(value: Any) -> tuple[dict[str, Any], ...]:
    """The tools a conversation may use: a list of objects, or JSON text of one. Raises RowFault."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except BadJson as err:
            raise RowFault(f"tools are not JSON: {err}") from None
    if not isinstance(value, (list, tuple)):
        raise RowFault(f"tools is {kind_of(value)}, not a list of objects")
    tools: list[dict[str, Any]] = []
    for i, tool in enumerate(value, 1):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise RowFault(f"tool {i} must be an object with a name")
        tools.append({"type": "function", "function": plain(function)})
    return tuple(tools)
