"""Telephone numbers, confirmed by the numbering plans of the phonenumbers library.

One decision: without a word that announces it, a national number counts only when it is written in the groups of
its country (or in the North American form); with a plus sign or after such a word, any writing of a possible or
valid number does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from luthier.core.errors import MachineError
from luthier.parts.privacy.rule import Rule, Span

TRUNK_REGIONS = ("GB", "FR", "DE", "AU", "NL", "BE", "CH", "SE", "JP", "IT", "AT", "NZ", "IE", "ZA", "IN", "FI", "TR", "KR", "BR")
REGIONS = ("US", *TRUNK_REGIONS, "ES", "PT", "PL", "DK", "NO", "CZ", "MX", "CN", "SG", "HK")
_PLUS = re.compile(r"\+(?<![\w+].)\(?\d(?:[ .()/-]{0,2}\d){6,14}", re.ASCII)
_DOUBLE_ZERO = re.compile(r"00(?<![\w.+-]..)[1-9](?:[ .()-]{0,2}\d){7,14}(?![\w])", re.ASCII)
_NATIONAL = re.compile(
    r"(?:\(\d|\d(?<![\w.+(-]\d)(?<!\d[ ]\d))\d{0,4}\)?(?:[ .-]{1,2}\(?\d{2,8}\)?){1,6}(?![\w-]|[ .]\d)|0(?<![\w.+(-]0)\d{9,10}(?![\w.-])",
    re.ASCII,
)
_NORTH_AMERICAN = re.compile(r"(?:1[ .-])?(?:\(\d{3}\)[ -]?|\d{3}[ .-])\d{3}[ .-]\d{4}", re.ASCII)
_ANNOUNCED = re.compile(
    r"\b(?:(?:tele)?phone|tel|mobile|cell(?:phone|ular)?|mob|fax|whatsapp|sms|signal|landline|hotline|telefon|handy|t[ée]l[ée]phone|tel[ée]fono"
    r"|telefone|m[óo]vil|celular|cellulare|portable|rufnummer)\b[^\d\n+(]{0,24}"
    r"|\b(?:call|text|ring|dial|reach|contact|anrufen|appelez|llame|call(?:ed|ing))\b"
    r"(?: (?:me|us|him|her|them|back|at|on|to|now|under|unter|au|al|number|the|is|my|anytime)){0,5}[ :]{1,3}",
    re.IGNORECASE,
)
_ANNOUNCED_TEXT = (
    "tel tél phone mob cell fax whatsapp sms signal landline hotline handy vil portable ruf call text ring dial reach contact appel llame"
)
_ANNOUNCED_MARKS = tuple(_ANNOUNCED_TEXT.split())
_ANY = re.compile(r"\(?\d(?:[ .()/-]{0,2}\d){6,12}(?!\w|-\d)", re.ASCII)


def phone(text: str) -> bool:
    """True for a possible number of some country after a plus sign, or a number in North American or official national groups."""
    if text.startswith("+"):
        return _possible(text)
    groups = re.findall(r"\d+", text)
    digits = sum(map(len, groups))
    if not 9 <= digits <= 12:
        return False
    if _NORTH_AMERICAN.fullmatch(text):
        return _valid(text, ("US",))
    if groups[0][0] != "0":
        return False
    return any(_same_groups(text, groups, region) for region in TRUNK_REGIONS)


def _library():
    try:
        import phonenumbers
    except ImportError:
        raise MachineError("checking telephone numbers needs phonenumbers: pip install 'luthier[data]'") from None
    return phonenumbers


def _parsed(text: str, region: str | None):
    library = _library()
    try:
        return library.parse(text, region)
    except library.NumberParseException:
        return None


def _possible(text: str) -> bool:
    number = _parsed(text, None)
    return number is not None and _library().is_possible_number(number)


def _valid(text: str, regions: tuple[str, ...]) -> bool:
    library = _library()
    return any(
        number is not None and library.is_valid_number(number) for region in regions if (number := _parsed(text, region)) is not None
    )


def _same_groups(text: str, groups: list[str], region: str) -> bool:
    """True for a valid number of the region that is written in its official groups, or in one."""
    library, number = _library(), _parsed(text, region)
    if number is None or not library.is_valid_number(number):
        return False
    official = re.findall(r"\d+", library.format_number(number, library.PhoneNumberFormat.NATIONAL))
    return groups == official or (len(groups) == 1 and len(text) >= 10) or (len(groups) == 2 and groups[0] == official[0])


def _international(text: str) -> Iterator[Span]:
    for match in _PLUS.finditer(text):
        start, end = match.span()
        while end - start > 8 and not phone(text[start:end]):  # the match may have taken a number after it along
            shorter = max(text.rfind(sep, start, end) for sep in " .-(")
            if shorter <= start:
                break
            end = shorter
        else:
            if end - start > 8 and not (end < len(text) and text[end].isalpha()):
                yield start, end
    for match in _DOUBLE_ZERO.finditer(text):
        if phone("+" + match.group()[2:]):
            yield match.span()


def _national(text: str) -> Iterator[Span]:
    for match in _NATIONAL.finditer(text):
        if phone(match.group()):
            yield match.span()


def _announced(text: str) -> Iterator[Span]:
    for word in _ANNOUNCED.finditer(text):
        match = _ANY.match(text, word.end())
        if match and 7 <= sum(c.isdigit() for c in match.group()) <= 12 and _valid(match.group(), REGIONS):
            yield match.span()


RULES = (
    Rule("phone number", _international, marks=("+", "00")),
    Rule("phone number", _announced, marks=_ANNOUNCED_MARKS),
    Rule("phone number", _national),
)
