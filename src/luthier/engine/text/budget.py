"""The limits of a chat template: how many steps, seconds and characters it may take, and what could blow them up.

One decision: sizes are checked before a value is made (a repetition, a join, a replacement), because a text of a
terabyte cannot be refused afterwards.
"""

from __future__ import annotations

import functools
import operator
import re
import threading
import time
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType
from typing import Any

import jinja2

MAX_TEMPLATE_CHARS = 500_000
MAX_STEPS = 200_000
MAX_SECONDS = 5.0
MAX_CHARS = 4_000_000
MAX_NODES = 500_000
_MAX_BITS = 256
_GROWING = ("join", "replace", "indent")
_FORBIDDEN_METHODS = ("center", "ljust", "rjust", "zfill", "expandtabs", "translate", "format", "format_map", "encode", "maketrans")
_WIDE = re.compile(r"%[^A-Za-z%]*(?:\d{4,}|\*)")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"*": operator.mul, "**": operator.pow, "%": operator.mod, "+": operator.add}


class TemplateLimit(jinja2.TemplateError):
    """A limit was passed; the message says which."""


class Budget(threading.local):
    """What one rendering may still take (one budget a thread). `start` fills it; long inputs may give long outputs."""

    def __init__(self) -> None:
        self.start(0)

    def start(self, input_chars: int) -> None:
        """Fill the budget for an input of this many characters."""
        self.steps = 0
        self.max_chars = MAX_CHARS + 20 * input_chars
        self.deadline = time.monotonic() + MAX_SECONDS

    def tick(self) -> None:
        """Count one step. Raises TemplateLimit after too many, or too long."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TemplateLimit(f"more than {MAX_STEPS} steps")
        if time.monotonic() > self.deadline:
            raise TemplateLimit(f"longer than {MAX_SECONDS:g} s")

    def allow(self, chars: int) -> None:
        """Raise TemplateLimit when a text or list of this size is too much."""
        if chars > self.max_chars:
            raise TemplateLimit(f"more than {self.max_chars} characters")

    def measure(self, value: Any) -> int:
        """The size of a value in characters, containers walked as often as they are named. Raises when it is too much."""
        chars, seen, left = 0, 0, [value]
        while left:
            item = left.pop()
            seen += 1
            if isinstance(item, str):
                chars += len(item)
            elif isinstance(item, dict):
                left.extend(item.keys())
                left.extend(item.values())
            elif isinstance(item, (list, tuple)):
                left.extend(item)
            else:
                chars += 20
            if seen > MAX_NODES or len(left) > MAX_NODES:
                raise TemplateLimit(f"a value of more than {MAX_NODES} parts")
        self.allow(chars)
        return chars


def join_text(parts: Sequence[Any], budget: Budget) -> str:
    """The parts as one text, its length checked first."""
    total = 0
    for part in parts:
        total += len(part) if isinstance(part, str) else budget.measure(part)
        budget.allow(total)
    return "".join(map(str, parts))


def operate(name: str, left: Any, right: Any, budget: Budget) -> Any:
    """`left name right` when the result cannot be too large."""
    if isinstance(left, str) and name == "%":
        if _WIDE.search(left):
            raise TemplateLimit("a format with a width of thousands")
        budget.allow(len(left) + (left.count("%") + 1) * budget.measure(right))
    elif name == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
        budget.allow(len(left) + len(right))
    elif name == "*" and isinstance(left, (str, list, tuple)) and isinstance(right, int):
        budget.allow(len(left) * max(right, 0))
    elif name == "*" and isinstance(right, (str, list, tuple)) and isinstance(left, int):
        budget.allow(len(right) * max(left, 0))
    elif isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if name == "**" else left.bit_length() + right.bit_length()
        if bits > _MAX_BITS:
            raise TemplateLimit("a number of hundreds of digits")
    return _OPERATORS[name](left, right)


def _size(value: Any, budget: Budget) -> int:
    if isinstance(value, int):
        return abs(value)
    return budget.measure(value) if isinstance(value, (str, list, tuple, dict)) else 1


def guarded_filter(name: str, function: Callable[..., Any], budget: Budget) -> Callable[..., Any]:
    """`function` with its arguments measured; the product of sizes bounds the filters that can grow a text."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        budget.tick()
        given = [a for a in (*args, *kwargs.values()) if isinstance(a, (str, list, tuple, dict))]
        sizes = [_size(a, budget) for a in given]
        if name in _GROWING:
            others = [_size(a, budget) for a in (*args[1:], *kwargs.values()) if isinstance(a, (str, int))]
            budget.allow((max(sizes, default=0) + 1) * (max(others, default=0) + 1) if others else 0)
        if name == "tojson" and any(isinstance(a, int) and abs(a) > 16 for a in (*args[1:], *kwargs.values())):
            raise TemplateLimit("an indent of more than 16")
        return function(*args, **kwargs)

    return wrapper


def guarded_method(value: Any, budget: Budget) -> Callable[..., Any] | None:
    """A counted stand-in for a string method that can grow its text; None for any other value."""
    if not isinstance(value, BuiltinFunctionType) or not isinstance(value.__self__, str):
        return None
    text, name = value.__self__, value.__name__
    if name in _FORBIDDEN_METHODS:

        def refuse(*args: Any) -> str:
            raise TemplateLimit(f"the string method `{name}`")

        return refuse
    if name == "replace":

        def replace(old: str, new: str, count: int = -1) -> str:
            budget.tick()
            hits = text.count(old)
            budget.allow(len(text) + (hits if count < 0 else min(hits, count)) * len(new))
            return text.replace(old, new, count)

        return replace
    if name == "join":

        def join(items: Any) -> str:
            budget.tick()
            parts = list(items)
            budget.allow(budget.measure(parts) + len(text) * len(parts))
            return text.join(parts)

        return join
    return None
