"""Mappings for conversations: OpenAI messages, ShareGPT, and OpenAssistant trees.

One decision: a tree becomes one example per path that ends with an answer, tied together by `group`, so that
no split ever puts two branches of one conversation on different sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from luthier.core.records import Example, Message, Source
from luthier.parts.sources.mapping_base import (
    Asking,
    Columns,
    Converted,
    RowFault,
    content_fault,
    first_of,
    name_of,
    optional_text,
    present,
)
from luthier.parts.sources.turns import OPENAI_KEYS, SHAREGPT_KEYS, check_conversation, parse_tools, parse_turns


class Messages(Columns):
    """A column with a list of turns `{role, content, weight?, tool_calls?}`; `tools` in a column of their own."""

    kind: Literal["messages"] = "messages"
    messages: str = "messages"
    tools: str | None = "tools"

    def required(self) -> tuple[str, ...]:
        return (self.messages,)

    def used(self) -> tuple[str, ...]:
        return (*super().used(), *first_of(self.tools))

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example. Raises RowFault."""
        value = present(fields, self.messages)
        messages, changes = parse_turns(value, self.messages, OPENAI_KEYS)
        check_conversation(messages)
        tools = parse_tools(fields.get(self.tools) if self.tools else None)
        return Converted((Example(messages, source, tools=tools, **self.extras(fields)),), tuple(changes))


class ShareGPT(Columns):
    """A column with a list of turns `{from, value}`; `system` and `tools` in columns of their own."""

    kind: Literal["sharegpt"] = "sharegpt"
    conversations: str = "conversations"
    system: str | None = "system"
    tools: str | None = "tools"

    def required(self) -> tuple[str, ...]:
        return (self.conversations,)

    def used(self) -> tuple[str, ...]:
        return (*super().used(), *first_of(self.system, self.tools))

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example. Raises RowFault."""
        value = present(fields, self.conversations)
        first = value[0] if isinstance(value, (list, tuple)) and value else None
        keys = OPENAI_KEYS if isinstance(first, Mapping) and "role" in first and "from" not in first else SHAREGPT_KEYS
        messages, changes = parse_turns(value, self.conversations, keys)
        system = optional_text(fields, self.system)
        if system.strip():
            if messages[0].role == "system":
                raise RowFault("two system turns: one in its column and one in the conversation")
            messages = (Message("system", system), *messages)
        check_conversation(messages)
        tools = parse_tools(fields.get(self.tools) if self.tools else None)
        return Converted((Example(messages, source, tools=tools, **self.extras(fields)),), tuple(changes))


class OpenAssistant(Columns):
    """OpenAssistant trees (one tree a row): `prompt` with nested `replies`; `best_only` follows rank 0 alone."""

    kind: Literal["oasst"] = "oasst"
    prompt: str = "prompt"
    tree_id: str = "message_tree_id"
    best_only: bool = True

    def required(self) -> tuple[str, ...]:
        return (self.prompt, self.tree_id)

    def convert(self, fields: Mapping[str, Any], source: Source, asking: Asking) -> Converted:
        """One example per path from the root to a last answer. Raises RowFault."""
        root, tree = present(fields, self.prompt), present(fields, self.tree_id)
        if not isinstance(root, Mapping):
            raise RowFault(f"{self.prompt} is not an object with text, role and replies")
        paths = list(_paths(root, self.best_only))
        if not paths:
            raise RowFault("no answer: the tree has no assistant reply")
        extras = {**self.extras(fields), "group": name_of(tree, self.tree_id)}
        records: list[Example] = []
        for i, path in enumerate(paths, 1):
            check_conversation(path)
            place = replace(source, at=f"{source.at} path {i}") if len(paths) > 1 else source
            records.append(Example(path, place, **extras))
        return Converted(tuple(records))


MAX_DEPTH, MAX_PATHS = 64, 1000


def _paths(root: Mapping[str, Any], best_only: bool) -> Iterator[tuple[Message, ...]]:
    """Paths that end with an assistant turn, without recursion."""
    stack: list[tuple[Mapping[str, Any], tuple[Message, ...]]] = [(root, ())]
    found = 0
    while stack:
        node, above = stack.pop()
        path = (*above, _node_message(node, len(above) + 1))
        replies = node.get("replies") or []
        if not isinstance(replies, (list, tuple)) or not all(isinstance(r, Mapping) for r in replies):
            raise RowFault(f"replies of turn {len(path)} is not a list of objects")
        if best_only:
            replies = sorted(replies, key=_rank)[:1]
        if len(path) > MAX_DEPTH or found >= MAX_PATHS:
            raise RowFault(f"the tree is deeper than {MAX_DEPTH} turns or has more than {MAX_PATHS} paths")
        answers_above = any(m.role == "assistant" for m in path)
        if not replies and answers_above:
            found += 1
            yield path if path[-1].role == "assistant" else path[:-1]
        stack.extend((reply, path) for reply in reversed(replies))


def _rank(node: Mapping[str, Any]) -> float:
    rank = node.get("rank")
    return rank if isinstance(rank, (int, float)) else math.inf


def _node_message(node: Mapping[str, Any], turn: int) -> Message:
    role = {"prompter": "user", "assistant": "assistant"}.get(str(node.get("role")))
    text = node.get("text")
    if role is None:
        raise RowFault(f"unknown role {str(node.get('role'))[:40]!r} in turn {turn}; allowed: prompter, assistant")
    if not isinstance(text, str) or not text.strip():
        raise RowFault(content_fault(text, f"text of turn {turn}"))
    return Message("user" if role == "user" else "assistant", text)
