"""Passports and dates of birth.

One decision: a date or a document number says nothing by itself; it counts after the words that say what it is,
and the machine-readable zone of a passport counts by its own check digits.
Sources: ICAO Doc 9303 part 4 (TD3), check digits with weights 7, 3, 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from luthier.parts.privacy.checksums import real_date, weighted
from luthier.parts.privacy.rule import Rule, Span, in_context

_MRZ = re.compile(r"P[A-Z<](?<!\w..)[A-Z<]{42}\r?\n([A-Z0-9<]{44})(?![\w<])", re.ASCII)
_PASSPORT = re.compile(
    r"\b(?:passport|passeport|reisepass|pasaporte|passaporto|paspoort|passaporte)(?:nummer| ?n(?:um[be]e?ro|umber|o|r|[º°])?\.?)?\b[^\n]?",
    re.IGNORECASE,
)
_PASSPORT_NUMBER = re.compile(
    r"(?<![\w.-])(?:[A-Z]{1,3}\d{6,8}|\d{2}[A-Z]{2}\d{5}|[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}|\d{9})(?![\w-])", re.ASCII
)
_BORN = re.compile(
    r"\b(?:date of birth|birth ?date|d\.?o\.?b\b\.?|born(?: on)?|birthday(?: is)?|geb(?:oren|\.)?(?: am)?|geburtsdatum"
    r"|n[ée]e?(?: le)?|date de naissance"
    r"|naci[óod]*(?: el)?|fecha de nacimiento|nat[oa](?: il)?|data di nascita|data de nascimento|nascid[oa](?: em)?|geboortedatum)(?!\w)",
    re.IGNORECASE,
)
_BORN_MARKS = ("born", "birth", "dob", "d.o.b", "geb", "né", "nee ", "ne le", "naissance", "nac", "nat", "nasc")
_MONTHS = (
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "jan fév mar avr mai juin juil aoû sep oct nov déc",
    "jan feb mär apr mai jun jul aug sep okt nov dez",
    "ene feb mar abr may jun jul ago sep oct nov dic",
    "gen feb mar apr mag giu lug ago set ott nov dic",
)
_MONTH = {name: number for names in _MONTHS for number, name in enumerate(names.split(), 1)}
_WORD = r"[A-Za-zéûä]{3,10}\.?"
_DATE = re.compile(
    r"(?<![\w./-])(?:(?P<y1>\d{4})(?P<s1>[-/.])(?P<m1>\d{1,2})(?P=s1)(?P<d1>\d{1,2})|(?P<a>\d{1,2})(?P<s2>[-/.])(?P<b>\d{1,2})(?P=s2)(?P<y2>\d{4}|\d{2})"
    rf"|(?P<d3>\d{{1,2}})(?:st|nd|rd|th|\.|er)? (?:of |de )?(?P<m3>{_WORD})(?: de| del)?,? (?P<y3>\d{{4}})"
    rf"|(?P<m4>{_WORD}) (?P<d4>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y4>\d{{4}}))(?![\w/-])"
)


def zone(line: str) -> bool:
    """True when all check digits of the second line of a passport's machine-readable zone hold."""
    parts = ((line[:9], line[9]), (line[13:19], line[19]), (line[21:27], line[27]))
    whole = line[:10] + line[13:20] + line[21:43]
    return all(c == _check(p) for p, c in parts) and line[43] == _check(whole)


def _check(text: str) -> str:
    values = [0 if c == "<" else int(c, 36) for c in text]
    return str(weighted(values, (7, 3, 1) * 15) % 10)


def birth_date(text: str) -> bool:
    """True for a day of the calendar that someone alive may have been born on, in one of the usual writings."""
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    g = match.groupdict()
    if g["y1"]:
        return real_date(int(g["y1"]), int(g["m1"]), int(g["d1"]))
    if g["y2"]:
        years = [int(g["y2"])] if len(g["y2"]) == 4 else [1900 + int(g["y2"])]
        return any(real_date(y, int(m), int(d)) for y in years for m, d in ((g["b"], g["a"]), (g["a"], g["b"])))
    month, day, year = (g["m3"], g["d3"], g["y3"]) if g["y3"] else (g["m4"], g["d4"], g["y4"])
    number = _MONTH.get(month.lower()[:4].rstrip(".")) or _MONTH.get(month.lower()[:3])
    return number is not None and real_date(int(year), number, int(day))


def _zones(text: str) -> Iterator[Span]:
    for match in _MRZ.finditer(text):
        if zone(match.group(1)):
            yield match.span()


RULES = (
    Rule("passport", _zones, marks=("<<",)),
    Rule(
        "passport",
        in_context(_PASSPORT, 28, _PASSPORT_NUMBER, lambda text: any(c.isdigit() for c in text)),
        marks=("pass", "paspoort", "pasaporte"),
    ),
    Rule("date of birth", in_context(_BORN, 36, _DATE, birth_date), marks=_BORN_MARKS),
)
