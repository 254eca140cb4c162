"""JSON as the standard has it: no NaN, no key given twice, no lone surrogate, and a bound on depth.

One decision: `json.loads` is asked only after the depth has been counted without recursion, so a hostile
line gives a reason and never a RecursionError. Source: RFC 8259.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{\]}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class BadJson(ValueError):
    """Why a text is not acceptable JSON, in words that fit behind a place."""


def parse_json(text: str, max_depth: int = 64) -> Any:
    """Parse one JSON value. Raises BadJson with the reason and the column."""
    if text.count("[") + text.count("{") > max_depth:
        _refuse_deep(text, max_depth)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except BadJson:
        raise
    except json.JSONDecodeError as err:
        raise BadJson(_describe(text, err)) from None
    except ValueError as err:  # an integer of thousands of digits
        raise BadJson(f"not JSON: {str(err).split(';')[0]}") from None
    if "\\u" in text and (found := _lone_surrogate(value)):
        raise BadJson(f"lone surrogate {found}: half of a character, cannot be written as UTF-8")
    return value


def _refuse_deep(text: str, max_depth: int) -> None:
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        depth += 1 if token in "[{" else -1 if token in "]}" else 0
        if depth > max_depth:
            raise BadJson(f"nested too deep: more than {max_depth} levels (column {match.start() + 1})")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        seen: set[str] = set()
        twice = sorted({key for key, _ in pairs if key in seen or seen.add(key)})
        raise BadJson("duplicate key " + ", ".join(f"`{k}`" for k in twice) + ": which value is meant is unknown")
    return out


def _no_constant(name: str) -> Any:
    raise BadJson(f"{name} is not JSON: use null or leave the row out")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadJson(f"the number {text[:40]} is too large for a float")
    return value


def _describe(text: str, err: json.JSONDecodeError) -> str:
    place = f"column {err.colno}" if "\n" not in text else f"line {err.lineno} of the value, column {err.colno}"
    if err.msg.startswith("Extra data"):
        return f"extra data after the value ({place}): one object a line is wanted"
    if err.pos >= len(text.rstrip()) or err.msg.startswith("Unterminated string"):
        return f"incomplete JSON: cut off ({place})"
    if err.msg.startswith("Invalid control character"):
        return f"control character U+{ord(text[err.pos]):04X} inside a string must be escaped ({place})"
    if text.lstrip().startswith(("{'", "['")):
        return f"not JSON: single quotes, as Python prints a dict ({place}); write rows with json.dumps"
    if text.lstrip().startswith(("//", "#", "/*")):
        return f"not JSON: a comment ({place}); JSON has none"
    return f"not JSON: {err.msg[:1].lower()}{err.msg[1:]} ({place})"


def _lone_surrogate(value: Any) -> str:
    if isinstance(value, str):
        match = _SURROGATE.search(value)
        return f"U+{ord(match.group()):04X}" if match else ""
    children: list[Any] = []
    if isinstance(value, dict):
        children = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        children = value
    return next((found for child in children if (found := _lone_surrogate(child))), "")
