"""Bank cards and bank accounts.

One decision: a card needs a network's prefix and length as well as the Luhn checksum, since one in ten order
numbers passes the checksum alone; an IBAN needs its country's length as well as mod 97.
Sources: ISO/IEC 7812-1, the networks' published number ranges, the SWIFT IBAN registry.
"""

from __future__ import annotations

import re

from luthier.parts.privacy.checksums import digits_of, iban, luhn
from luthier.parts.privacy.rule import Rule, Span, by_fit, by_pattern

_LENGTHS = dict(
    pair.split(":")
    for pair in [
        "AD:24",
        "AE:23",
        "AL:28",
        "AT:20",
        "AZ:28",
        "BA:20",
        "BE:16",
        "BG:22",
        "BH:22",
        "BI:27",
        "BR:29",
        "BY:28",
        "CH:21",
        "CR:22",
        "CY:28",
        "CZ:24",
        "DE:22",
        "DJ:27",
        "DK:18",
        "DO:28",
        "EE:20",
        "EG:29",
        "ES:24",
        "FI:18",
        "FK:18",
        "FO:18",
        "FR:27",
        "GB:22",
        "GE:22",
        "GI:23",
        "GL:18",
        "GR:27",
        "GT:28",
        "HN:28",
        "HR:21",
        "HU:28",
        "IE:22",
        "IL:23",
        "IQ:23",
        "IS:26",
        "IT:27",
        "JO:30",
        "KW:30",
        "KZ:20",
        "LB:28",
        "LC:32",
        "LI:21",
        "LT:20",
        "LU:20",
        "LV:21",
        "LY:25",
        "MC:27",
        "MD:24",
        "ME:22",
        "MK:19",
        "MN:20",
        "MR:27",
        "MT:31",
        "MU:30",
        "NI:28",
        "NL:18",
        "NO:15",
        "OM:23",
        "PK:24",
        "PL:28",
        "PS:29",
        "PT:25",
        "QA:29",
        "RO:24",
        "RS:22",
        "RU:33",
        "SA:24",
        "SC:31",
        "SD:18",
        "SE:24",
        "SI:19",
        "SK:24",
        "SM:27",
        "SO:23",
        "ST:25",
        "SV:28",
        "TL:23",
        "TN:24",
        "TR:26",
        "UA:29",
        "VA:22",
        "VG:24",
        "XK:20",
        "YE:30",
    ]
)
# (first digits from, to, lengths): the prefix is compared at the length of its bounds
_NETWORKS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (13, 16, 19)),
    (51, 55, (16,)),
    (2221, 2720, (16,)),
    (34, 34, (15,)),
    (37, 37, (15,)),
    (300, 305, (14, 16, 19)),
    (36, 36, (14, 16, 19)),
    (38, 39, (14, 16, 19)),
    (6011, 6011, (16, 19)),
    (644, 659, (16, 19)),
    (3528, 3589, (16, 17, 18, 19)),
    (62, 62, (16, 17, 18, 19)),
    (50, 50, (16, 19)),
    (56, 58, (16, 19)),
    (60, 60, (16, 19)),
    (63, 63, (16, 19)),
    (67, 67, (16, 19)),
    (2200, 2204, (16,)),
)
_CARD = re.compile(
    r"\d(?<![\w.-]\d)(?:\d{3}([ -])\d{4}\1\d{4}\1\d{4}\1\d{3}|\d{3}([ -])\d{4}\2\d{4}\2\d{4}|\d{3}([ -])\d{6}\3\d{4,5}|\d{12,18})"
    r"(?![\w-]|\.\d)",
    re.ASCII,
)
_IBAN = re.compile(r"[A-Za-z]{2}\d{2}(?<![A-Za-z0-9]....)(?:[ -]?[A-Za-z0-9]){11,36}", re.ASCII)


def card(text: str) -> bool:
    """True for a number of a card network that passes the Luhn checksum."""
    number = "".join(map(str, digits_of(text)))
    known = any(low <= int(number[: len(str(low))]) <= high and len(number) in lengths for low, high, lengths in _NETWORKS)
    return known and luhn(text)


def _iban_at(text: str, start: int, end: int) -> Span | None:
    """The IBAN that begins at `start`, cut to its country's length."""
    wanted = int(_LENGTHS.get(text[start : start + 2].upper(), 0))
    count = 0
    for at in range(start, end):
        count += text[at].isalnum()
        if count == wanted:
            whole = at + 1 == len(text) or not text[at + 1].isalnum()
            return (start, at + 1) if whole and iban(text[start : at + 1]) else None
    return None


RULES = (Rule("IBAN", by_fit(_IBAN, _iban_at)), Rule("card number", by_pattern(_CARD, card)))
