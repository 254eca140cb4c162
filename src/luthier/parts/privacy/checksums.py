"""The checksums of card, bank account and identity numbers.

One decision: each function takes the text as written and looks at its letters and digits alone, so that
separators never matter here.
Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 and ISO 7064 (mod 97, mod 11-2, mod 11-10), Verhoeff 1969, and the
issuing offices' rules for each national number. The tests compare them with python-stdnum.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date


def digits_of(text: str) -> list[int]:
    """The decimal digits of a text."""
    return [int(c) for c in text if c.isdigit()]


def plain(text: str) -> str:
    """Letters and digits alone, in capitals."""
    return "".join(c for c in text if c.isalnum()).upper()


def luhn_sum(digits: Sequence[int]) -> int:
    """The Luhn sum modulo 10; 0 for a good number."""
    return sum(d if i % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(reversed(digits))) % 10


def luhn(text: str) -> bool:
    """True when the digits of `text` (13 to 19 of them, not all equal) pass the Luhn checksum."""
    digits = digits_of(text)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn_sum(digits) == 0


def mod97(text: str) -> int:
    """Letters as 10 to 35, all as one number, modulo 97."""
    return int("".join(str(int(c, 36)) for c in text)) % 97


def iban(text: str) -> bool:
    """True when `text` passes the IBAN checksum (mod 97)."""
    number = plain(text)
    return 15 <= len(number) <= 34 and number.isascii() and mod97(number[4:] + number[:4]) == 1


def weighted(digits: Sequence[int], weights: Sequence[int]) -> int:
    """The sum of digit times weight over the shorter of the two."""
    return sum(d * w for d, w in zip(digits, weights, strict=False))


_D = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_P = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258")


def verhoeff(digits: Sequence[int]) -> bool:
    """True when the digits pass the Verhoeff checksum."""
    check = 0
    for i, digit in enumerate(reversed(digits)):
        check = int(_D[check][int(_P[i % 8][digit])])
    return check == 0


def mod11_10(digits: Sequence[int]) -> bool:
    """ISO 7064 mod 11-10 over all digits (the last is the check digit)."""
    product = 10
    for digit in digits[:-1]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == digits[-1]


def real_date(year: int, month: int, day: int) -> bool:
    """True for a day of the calendar between 1890 and 2099."""
    if not 1890 <= year <= 2099:
        return False
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def short_date(year: int, month: int, day: int) -> bool:
    """True when the two-digit year makes a day of the calendar in the 20th or 21st century."""
    return real_date(1900 + year, month, day) or real_date(2000 + year, month, day)
