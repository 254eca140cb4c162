"""What is compared when rows are looked at for copies: the exact text, the normalised text, the plain words.

One decision: normalising takes away only what does not change what a text asks (Unicode form, case, punctuation, white
space), so equal after normalising is a copy for every use; alike is judged elsewhere, with a threshold.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from luthier.core.records import Example, Message, Preference, Rating, Record, Text

Same = Literal["prompt", "row"]
FRAME_ROWS = 20
"""With fewer texts than this nothing is taken for a frame: a few copies of one text share nearly all of it."""
_NUMBER = re.compile(r"\d+")
_MARK = re.compile(r"([^\w\s]|_)\s*")


def exact_text(record: Record, same: Same) -> str:
    """What is compared: the prompt (or the raw text), or all of the row."""
    if isinstance(record, Text):
        return record.text
    return "\x1e".join(_turn(m) for m in messages_of(record, same))


def messages_of(record: Record, same: Same) -> tuple[Message, ...]:
    """The turns that are compared; none for a raw text."""
    if isinstance(record, Text):
        return ()
    if isinstance(record, Example):
        return record.prompt if same == "prompt" else record.messages
    if isinstance(record, Preference):
        return record.prompt if same == "prompt" else (*record.prompt, *record.chosen, *record.rejected)
    assert isinstance(record, Rating)
    return record.prompt if same == "prompt" else (*record.prompt, *record.completion)


def plain_text(record: Record, same: Same) -> str:
    """The words alone, normalised: no roles, no tool calls, no label (a label is compared as a label)."""
    if isinstance(record, Text):
        return normalised_text(record.text)
    asked: Same = "prompt" if isinstance(record, Example) and record.label is not None else same
    return normalised_text("\n".join(m.content for m in messages_of(record, asked)))


def answer_of(record: Record, same: Same) -> str | None:
    """The label or rating, where whole rows are compared: rows that differ in it are no copies. None where there is none."""
    if same == "prompt":
        return None
    return str(record.good) if isinstance(record, Rating) else getattr(record, "label", None)


def numbers_in(text: str) -> tuple[str, ...]:
    """The numbers of a text in order: texts that differ in them ask for different things."""
    return tuple(_NUMBER.findall(text))


def _turn(message: Message) -> str:
    calls = f"\x1f{message.tool_calls!r}" if message.tool_calls else ""
    return f"{message.role}\x1f{message.content}{calls}"


def normalised_text(text: str) -> str:
    """NFKC, case folded, punctuation away, white space joined. Punctuation before a digit stays: -5 is not 5, 5-3 is not 5/3.

    A text of nothing but punctuation is left as it is, so that `?` and `!` stay different.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_MARK.sub(_space_for, folded).split()) or " ".join(folded.split())


def _space_for(found: re.Match[str]) -> str:
    """A space for a punctuation mark, or the mark itself where it may be part of a number; symbols and accents stay."""
    mark, text, after = found.group(1), found.string, found.end()
    if unicodedata.category(mark)[0] != "P":
        return found.group()
    direct = text[found.start() + 1 : found.start() + 2].isdigit()
    between = text[after : after + 1].isdigit() and found.start() > 0 and text[found.start() - 1].isdigit()
    return found.group() if direct or between else " "


def without_frame(texts: Sequence[str]) -> list[str]:
    """The texts without the whole words that all of them begin with and end with: a prompt template around every row.

    A template says nothing about which rows repeat each other, and would make every pair look alike.
    """
    if len(texts) < FRAME_ROWS:
        return list(texts)
    start = _common_start(texts)
    rest = [text[start:] for text in texts]
    end = _common_start([text[::-1] for text in rest])
    return [text[: len(text) - end] for text in rest] if end else rest


def _common_start(texts: Sequence[str]) -> int:
    """Characters up to and with the last space of what all texts begin with: that of the first and last in order."""
    low, high = min(texts), max(texts)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low.rfind(" ", 0, same) + 1
