"""Reading JSON out of a model's answer: one fenced block is unwrapped, anything else around it is an error.

One decision: the reason why an answer is not JSON is kept with the score, so a report can show it.
"""

from __future__ import annotations

import json
import re
from typing import Any

_FENCE = re.compile(r"\A```[A-Za-z]*\s*\n(.*?)\n?\s*```\Z", re.DOTALL)


class NotJson(ValueError):
    """Why a text is not JSON."""


def read_answer(text: str, unwrap_fence: bool = True) -> Any:
    """The JSON value of an answer. Raises NotJson with the reason."""
    body = text.strip()
    if unwrap_fence and (fenced := _FENCE.match(body)):
        body = fenced.group(1).strip()
    if not body:
        raise NotJson("the answer is empty")
    try:
        return json.loads(body, parse_constant=_refuse)
    except json.JSONDecodeError as err:
        raise NotJson(f"{err.msg} at character {err.pos + 1}") from None
    except (RecursionError, ValueError) as err:
        raise NotJson(str(err) or "nested too deeply") from None


def _refuse(word: str) -> Any:
    raise NotJson(f"{word} is not JSON")
