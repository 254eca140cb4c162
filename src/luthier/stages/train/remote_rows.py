"""Rows as lines of a fine-tuning file of the OpenAI API: `{"messages": [...], "tools": [...]}`, one JSON object a line.

One decision: what a line cannot say is refused (a weight of a row, a message weight other than 0 or 1), because a row that
trains with another weight than the user gave it is a wrong row without a sign.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.core.records import Example, Message

MAX_BYTES = 512 * 1024 * 1024
"""The largest file that the API takes."""


def write_rows(path: Path, rows: Sequence[Example], last_only: bool) -> int:
    """Write one line a row; the number of rows. `last_only`: only the last answer of a conversation is trained.

    Raises UserError for a weight that the format cannot say, and for more than MAX_BYTES.
    """
    with path.open("w", encoding="utf-8", newline="\n") as f:
        for row in rows:
            f.write(json.dumps(line_of(row, last_only), ensure_ascii=False) + "\n")
    size = path.stat().st_size
    if size > MAX_BYTES:
        fix = "send fewer rows with `split.max_rows`"
        raise UserError(f"a fine-tuning file must have at most {MAX_BYTES:,} bytes", f"{size:,}", path.stem, fix)
    return len(rows)


def line_of(row: Example, last_only: bool) -> dict[str, Any]:
    """One row in the API's form. Raises UserError for a weight that it cannot say."""
    if row.weight != 1:
        fix = "leave the weight out of data.mapping, or train here"
        raise UserError("every row of a remote job must have the weight 1", f"{row.weight:g}", str(row.source), fix)
    last = len(row.messages) - 1
    messages = [_message(m, row, last_only and i < last) for i, m in enumerate(row.messages)]
    return {"messages": messages} | ({"tools": list(row.tools)} if row.tools else {})


def _message(message: Message, row: Example, silent: bool) -> dict[str, Any]:
    if message.weight not in (None, 0, 1):
        raise UserError("a message's weight must be 0 or 1 in a remote job", f"{message.weight:g}", str(row.source))
    weight = 0 if silent else None if message.weight is None else int(message.weight)
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "assistant" and weight is not None:
        out["weight"] = weight
    if message.tool_calls:
        out["tool_calls"] = list(message.tool_calls)
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        out["name"] = message.name
    return out
