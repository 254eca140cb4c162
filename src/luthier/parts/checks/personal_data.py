"""Personal data and secrets: e-mail, phone, card, IBAN, SSN, IP address, access keys.

One decision: a pattern alone is not enough where a checksum exists (Luhn for cards, mod 97 for IBANs), and a
value is never shown: the reason names its kind and how many.
Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 (IBAN), SSA randomisation rules (SSN).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict

Test = Callable[[str], bool]


def luhn(text: str) -> bool:
    """True when the digits of `text` (13 to 19 of them) pass the Luhn checksum."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d if i % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def iban(text: str) -> bool:
    """True when `text` passes the IBAN checksum (mod 97)."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def ssn(text: str) -> bool:
    """True when the parts of a US social security number are ones that are issued."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


_NORTH_AMERICAN = re.compile(r"(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}", re.ASCII)
_TRUNK = re.compile(r"\(?0\d{1,4}\)?(?:[ .-]\d{2,8}){1,5}", re.ASCII)


def phone(text: str) -> bool:
    """True for 10 to 15 digits after a plus sign, in North American groups, or in groups after a leading 0."""
    if not 10 <= sum(c.isdigit() for c in text) <= 15:
        return False
    return text.startswith("+") or bool(_NORTH_AMERICAN.fullmatch(text) or _TRUNK.fullmatch(text))


def ipv4(text: str) -> bool:
    """True for four numbers up to 255, no leading zeros, not 0.0.0.0."""
    parts = text.split(".")
    return all(int(p) < 256 and (p == "0" or not p.startswith("0")) for p in parts) and text != "0.0.0.0"


def always(text: str) -> bool:
    """For patterns that are proof enough."""
    return True


_KINDS: tuple[tuple[str, re.Pattern[str], Test], ...] = (
    ("e-mail address", re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b", re.ASCII), always),
    (
        "access key",
        re.compile(
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{22,255}\b|\bsk-[A-Za-z0-9_-]{20,200}\b"
            r"|\bxox[abprs]-[A-Za-z0-9-]{10,200}\b|\bAIza[0-9A-Za-z_-]{35}\b|\bhf_[A-Za-z0-9]{30,50}\b|\bglpat-[\w-]{20}\b"
            r"|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----|\beyJ[\w-]{10,2000}\.eyJ[\w-]{10,2000}\.[\w-]{10,2000}",
            re.ASCII,
        ),
        always,
    ),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII), iban),
    ("card number", re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])", re.ASCII), luhn),
    ("SSN", re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", re.ASCII), ssn),
    ("IP address", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)", re.ASCII), ipv4),
    ("phone number", re.compile(r"(?<![\w.+-])(?:\+\(?|(?<!\d )\(?)\d(?:[ .()-]{0,2}\d){9,14}(?![\w-]|[ .]\d)", re.ASCII), phone),
)


class PersonalData(TextCheck):
    """Fails on personal data and secrets; kinds are told apart so that one value counts once."""

    def __call__(self, text: str) -> Verdict:
        """The reason counts each kind and shows no value; the spans say where."""
        found = list(find_personal_data(text))
        if not found:
            return PASS
        counts: dict[str, int] = {}
        for kind, _ in found:
            counts[kind] = counts.get(kind, 0) + 1
        parts = [kind if n == 1 else f"{n} of {kind}" for kind, n in counts.items()]
        return Verdict(False, "personal data or secret (not shown): " + ", ".join(parts), tuple(span for _, span in found[:MAX_SPANS]))


def find_personal_data(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """(kind, span) of each value, none overlapping another."""
    taken: list[tuple[int, int]] = []
    for kind, pattern, test in _KINDS:
        for match in pattern.finditer(text):
            start, end = match.span()
            if all(end <= a or b <= start for a, b in taken) and test(match.group()):
                taken.append((start, end))
                yield kind, (start, end)
                if len(taken) >= MAX_SPANS:
                    return
