"""Rows as a mapping reads them, a line each: who asks what and what is to be answered, before any model's template.

One decision: each turn is cut to so many characters and shows that it was, since a sample is looked at, not worked with.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.core.records import Example, Message, Preference, Rating, Record, Text

MOST = 3
"""Rows that are shown."""
LONGEST = 160
"""Characters of a turn."""


def as_read(record: Record, at: str) -> str:
    """`line 2: user: Where is my card? | assistant: card_arrival`; control characters are shown, not printed."""
    return f"{at}: {' | '.join(_turns(record))}"


def _turns(record: Record) -> list[str]:
    if isinstance(record, Text):
        return [f"text: {_cut(record.text)}"]
    if isinstance(record, Example):
        return _said(record.messages)
    if isinstance(record, Preference):
        return [*_said(record.prompt), *_said(record.chosen, "chosen"), *_said(record.rejected, "rejected")]
    assert isinstance(record, Rating)
    return [*_said(record.prompt), *_said(record.completion, "good" if record.good else "bad")]


def _said(messages: Sequence[Message], called: str | None = None) -> list[str]:
    return [f"{called or m.role}: {_cut(m.content)}" + (f" [{len(m.tool_calls)} tool calls]" if m.tool_calls else "") for m in messages]


def _cut(text: str) -> str:
    shown = text if len(text) <= LONGEST else text[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)
