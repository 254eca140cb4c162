"""Control tokens that a person typed, hidden from the template and put back as ordinary text.

One decision: each is replaced by one private-use character before the template runs (the template sees the rest of the
message unchanged), and by its own text again after the rendered text has been cut at the real control tokens.
Pieces of a control token at a message's ends are hidden too, so that none can be completed by its surroundings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.core.errors import UserError
from luthier.core.records import Message

_PRIVATE = range(0xF0000, 0xFFFFE)


class TypedTokens:
    """Finds control tokens in message texts. `control` are their texts."""

    def __init__(self, control: Iterable[str]) -> None:
        whole = sorted(control, key=lambda t: (-len(t), t))
        heads = sorted({t[:k] for t in whole for k in range(1, len(t))}, key=lambda t: (-len(t), t))
        tails = sorted({t[k:] for t in whole for k in range(1, len(t))}, key=lambda t: (-len(t), t))
        self._ends = re.compile(f"(?P<end>{_any(heads)})(?=\\s*\\Z)")
        self._starts = re.compile(f"\\A(?P<white>\\s*)(?P<start>{_any(tails)})")
        self._whole = re.compile(_any(whole)) if whole else None
        self._longest = max((len(t) for t in whole), default=0)

    def hide(self, text: str, hidden: Hidden) -> str:
        """`text` with every control token, and every part of one at its ends, replaced by a private character."""
        if self._whole is None:
            return text
        text = self._whole.sub(lambda m: hidden.mark(m.group()), text)
        tail = len(text.rstrip()) - self._longest
        if (found := self._ends.search(text, max(tail, 0))) is not None:
            text = text[: found.start()] + hidden.mark(found.group("end")) + text[found.end() :]
        if (found := self._starts.match(text)) is not None:
            text = found.group("white") + hidden.mark(found.group("start")) + text[found.end() :]
        return text

    def hide_all(self, value: Any, hidden: Hidden) -> Any:
        """`hide` for every string inside plain JSON data (keys too)."""
        if isinstance(value, str):
            return self.hide(value, hidden)
        if isinstance(value, Mapping):
            return {self.hide(str(k), hidden): self.hide_all(v, hidden) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.hide_all(v, hidden) for v in value]
        return value


def _any(texts: Sequence[str]) -> str:
    return "|".join(map(re.escape, texts)) or r"(?!)"


class Hidden:
    """The texts hidden in one conversation, each behind its own private-use character that occurs nowhere else."""

    def __init__(self, texts: Iterable[str]) -> None:
        used = {ord(c) for text in texts if not text.isascii() for c in text if ord(c) in _PRIVATE}
        self._free = (code for code in _PRIVATE if code not in used)
        self._by_text: dict[str, str] = {}
        self._by_mark: dict[int, str] = {}

    def mark(self, text: str) -> str:
        """The character that stands for `text`."""
        if text not in self._by_text:
            code = next(self._free, None)
            if code is None:
                raise UserError("a conversation must leave one private-use character of plane 15 free", "none left")
            self._by_text[text] = chr(code)
            self._by_mark[code] = text
        return self._by_text[text]

    def reveal(self, text: str) -> str:
        """`text` with every hidden text put back."""
        return text.translate(self._by_mark) if self._by_mark else text


def plain_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as a template sees them. Arguments of tool calls become objects. Raises UserError when they are not."""
    out = []
    for i, m in enumerate(messages):
        plain: dict[str, Any] = {"role": m.role, "content": m.content}
        if m.tool_calls:
            plain["tool_calls"] = [_call(c, f"message {i + 1}") for c in m.tool_calls]
        if m.tool_call_id is not None:
            plain["tool_call_id"] = m.tool_call_id
        if m.name is not None:
            plain["name"] = m.name
        out.append(plain)
    return out


def _call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    function = call.get("function", call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise UserError("the arguments of a tool call must be a JSON object", repr(arguments[:60]), where) from None
    if not isinstance(arguments, dict) or not isinstance(function.get("name"), str):
        raise UserError("a tool call must have a name and an object of arguments", repr(call)[:80], where)
    fixed = {**function, "arguments": arguments}
    return {**call, "function": fixed} if "function" in call else fixed


def texts_in(value: Any) -> Iterable[str]:
    """Every string inside plain JSON data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for k, v in value.items():
            yield str(k)
            yield from texts_in(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from texts_in(v)
