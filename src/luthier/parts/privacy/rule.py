"""What a rule is: a kind of personal data and a function that yields the spans of its values in a text.

One decision: rules run in the order of their certainty and a span once taken is not given again, so a value
counts once, under the kind that proves most. Every pattern is bounded, so time grows with the text and no faster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from luthier.parts.privacy.fold import fold

Kind = Literal[
    "private key",
    "URL with password",
    "access key",
    "password",
    "e-mail address",
    "IBAN",
    "card number",
    "passport",
    "national id",
    "SSN",
    "IP address",
    "MAC address",
    "date of birth",
    "phone number",
    "street address",
    "postal code",
    "name",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Span = tuple[int, int]
Fit = Callable[[str, int, int], Span | None]


@dataclass(frozen=True, slots=True)
class Value:
    """One value of personal data in a text: its kind and its span. The value itself is never kept."""

    kind: Kind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rule:
    """`find` yields spans in order. It is not asked when the text has no digit (`digits`) or, in small letters, none of `marks`."""

    kind: Kind
    find: Callable[[str], Iterator[Span]]
    digits: bool = True
    marks: tuple[str, ...] = ()


def by_pattern(pattern: re.Pattern[str], test: Callable[[str], bool]) -> Callable[[str], Iterator[Span]]:
    """Spans of a pattern whose text passes `test`."""

    def whole(text: str, start: int, end: int) -> Span | None:
        return (start, end) if test(text[start:end]) else None

    return by_fit(pattern, whole)


def by_fit(pattern: re.Pattern[str], fit: Fit) -> Callable[[str], Iterator[Span]]:
    """Spans that `fit` makes of each match (or refuses with None); the search goes on where the span ends."""

    def find(text: str) -> Iterator[Span]:
        at = 0
        while match := pattern.search(text, at):
            span = fit(text, *match.span())
            at = match.end()
            if span is not None:
                at = max(span[1], match.start() + 1)
                yield span

    return find


def in_context(words: re.Pattern[str], reach: int, value: re.Pattern[str], test: Callable[[str], bool]) -> Callable[[str], Iterator[Span]]:
    """Spans of the first `value` that passes `test` within `reach` characters after one of `words`."""

    def find(text: str) -> Iterator[Span]:
        at = 0
        while word := words.search(text, at):
            at = word.end()
            for match in value.finditer(text, at, min(len(text), at + reach)):
                whole = match.end() < at + reach or match.end() == len(text) or not text[match.end()].isalnum()
                if whole and test(match.group()):
                    yield match.span()
                    at = match.end()
                    break

    return find


def scan(text: str, rules: Sequence[Rule]) -> list[Value]:
    """Every value that the rules find, in the order of the text, none overlapping another."""
    folded = fold(text)
    plain = folded.text
    lower = plain.lower()
    has_digit = any(c in plain for c in "0123456789")
    taken = bytearray(len(plain))
    found: list[Value] = []
    for rule in rules:
        if (rule.digits and not has_digit) or (rule.marks and not any(mark in lower for mark in rule.marks)):
            continue
        for start, end in rule.find(plain):
            if taken.find(1, start, end) < 0:
                taken[start:end] = b"\1" * (end - start)
                found.append(Value(rule.kind, *folded.span(start, end)))
    return sorted(found, key=lambda value: value.start)
