"""Postal codes and street addresses.

One decision: a postal code counts where its country's rules can be checked (areas of the United Kingdom, the
districts of Canada, the first digits of each US state) or after the words that announce it; a street address
counts as number and street in the order and with the words of its language.
Sources: Royal Mail postcode areas, Canada Post, USPS publication 28 (state prefixes, street suffixes).
"""

from __future__ import annotations

import re

from luthier.parts.privacy.rule import Rule, Span, by_fit, by_pattern, in_context

_UK_AREAS = frozenset(
    [
        "AB",
        "AL",
        "B",
        "BA",
        "BB",
        "BD",
        "BH",
        "BL",
        "BN",
        "BR",
        "BS",
        "BT",
        "CA",
        "CB",
        "CF",
        "CH",
        "CM",
        "CO",
        "CR",
        "CT",
        "CV",
        "CW",
        "DA",
        "DD",
        "DE",
        "DG",
        "DH",
        "DL",
        "DN",
        "DT",
        "DY",
        "E",
        "EC",
        "EH",
        "EN",
        "EX",
        "FK",
        "FY",
        "G",
        "GL",
        "GU",
        "GY",
        "HA",
        "HD",
        "HG",
        "HP",
        "HR",
        "HS",
        "HU",
        "HX",
        "IG",
        "IM",
        "IP",
        "IV",
        "JE",
        "KA",
        "KT",
        "KW",
        "KY",
        "L",
        "LA",
        "LD",
        "LE",
        "LL",
        "LN",
        "LS",
        "LU",
        "M",
        "ME",
        "MK",
        "ML",
        "N",
        "NE",
        "NG",
        "NN",
        "NP",
        "NR",
        "NW",
        "OL",
        "OX",
        "PA",
        "PE",
        "PH",
        "PL",
        "PO",
        "PR",
        "RG",
        "RH",
        "RM",
        "S",
        "SA",
        "SE",
        "SG",
        "SK",
        "SL",
        "SM",
        "SN",
        "SO",
        "SP",
        "SR",
        "SS",
        "ST",
        "SW",
        "SY",
        "TA",
        "TD",
        "TF",
        "TN",
        "TQ",
        "TR",
        "TS",
        "TW",
        "UB",
        "W",
        "WA",
        "WC",
        "WD",
        "WF",
        "WN",
        "WR",
        "WS",
        "WV",
        "YO",
        "ZE",
    ]
)
_STATE_DIGIT = {
    state: digit
    for digit, states in (
        ("0", "CT MA ME NH NJ RI VT"),
        ("1", "DE NY PA"),
        ("2", "DC MD NC SC VA WV"),
        ("3", "AL FL GA MS TN"),
        ("4", "IN KY MI OH"),
        ("5", "IA MN MT ND SD WI"),
        ("6", "IL KS MO NE"),
        ("7", "AR LA OK TX"),
        ("8", "AZ CO ID NM NV UT WY"),
        ("9", "AK CA HI OR WA"),
    )
    for state in states.split()
}
_UK = re.compile(r"[A-Z](?<!\w.)[A-Z]?\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}\b", re.ASCII)
_CANADA = re.compile(r"[ABCEGHJ-NPRSTVXY](?<!\w.)\d[ABCEGHJ-NPRSTV-Z][ -]\d[ABCEGHJ-NPRSTV-Z]\d\b", re.ASCII)
_US = re.compile(r"[A-Z](?<!\w.)[A-Z] {1,2}\d{5}(?:-\d{4})?(?![\w-])", re.ASCII)
_ANNOUNCED = re.compile(
    r"\b(?:post ?code|postal code|zip(?: code)?|code postal|postleitzahl|plz|c[óo]digo postal|cap)\b[^\w\n]{0,3}(?:is |of |: ?)?", re.I
)
_ANY_CODE = re.compile(
    r"(?<![\w.-])(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d"
    r"|\d{5}(?:-\d{3,4})?|\d{4} ?[A-Z]{2}|\d{3}-\d{4}|\d{4,6})(?![\w-])"
)
_SUFFIX = (
    "(?:Street|Avenue|Road|Boulevard|Lane|Drive|Court|Place|Square|Terrace|Parkway|Highway|Close|Crescent|Gardens|Mews|Row|Grove|Walk|Quay)"
    r"\b|(?:St|Ave|Rd|Blvd|Ln|Dr|Ct|Pl|Sq|Pkwy|Hwy)\b\.?"
)
_ENGLISH = re.compile(
    rf"\d(?<![\w.,:/-]\d)\d{{0,4}}[A-Za-z]?,? (?:(?:[A-Z][A-Za-z'’.-]{{0,20}}|\d{{1,3}}(?:st|nd|rd|th)|[NSEW]\.?) ){{1,4}}(?:{_SUFFIX})"
    r"(?:,? (?:Apt|Apartment|Suite|Unit|Flat|Floor|#)\.? ?\w{1,6})?"
)
_GERMAN = re.compile(
    r"[A-ZÄÖÜ](?<!\w.)(?:[a-zäöüß]{1,24}[- ]?){0,1}[A-Za-zäöüß-]{1,24}"
    r"(?:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer|ring) \d{1,4}(?: ?[a-z])?\b"
    r"|(?:Am|An der|Im|Unter den|Auf dem) [A-ZÄÖÜ][a-zäöüß]{2,24} \d{1,4}(?: ?[a-z])?\b"
)
_FRENCH = re.compile(
    r"\d(?<![\w.,:/-]\d)\d{0,3}(?: ?(?:bis|ter))?,? (?:rue|avenue|av\.|boulevard|bd|place|impasse|chemin|all[ée]e|quai|cours|square)"
    r" (?:(?:de|du|des|la|le|les|l['’]|d['’]) ?){0,3}[A-ZÉÈÀÂÎÔ][\w'’-]{1,30}(?: [A-ZÉÈÀÂÎÔ][\w'’-]{1,30}){0,3}",
    re.UNICODE,
)
_SOUTHERN = re.compile(
    r"\b(?:Calle|C/|Avenida|Avda?\.|Paseo|Plaza|Via|Viale|Piazza|Corso|Rua|Largo|Travessa)"
    r" (?:(?:de|del|della|dello|dei|di|da|do|dos|la|las|los|el) ){0,2}[A-ZÁÉÍÓÚÑ][\w'’-]{1,30}(?: [A-ZÁÉÍÓÚÑ][\w'’-]{1,30}){0,3}"
    r",? (?:n[ºo°.]{1,2} ?)?\d{1,4}[A-Za-z]?\b"
)
_DUTCH = re.compile(r"[A-Z](?<!\w.)[a-z]{2,24}(?:straat|laan|gracht|kade|plein|dijk|singel) \d{1,4}(?: ?[a-zA-Z])?\b")
_BOX = re.compile(r"\bP\.? ?O\.? ?Box \d{1,6}\b|\bPostfach \d{1,6}\b", re.IGNORECASE)


def _uk(text: str) -> bool:
    return "".join(c for c in text[:2] if c.isalpha()) in _UK_AREAS


def _us_at(text: str, start: int, end: int) -> Span | None:
    code = end - (10 if text[end - 5] == "-" else 5)
    good = _STATE_DIGIT.get(text[start : start + 2]) == text[code] and text[code : code + 5] not in ("00000", "99999")
    return (code, end) if good else None


def _not_a_day(text: str) -> bool:
    """False for a number with an abbreviated day or a lone `Dr` (doctor) after it."""
    return not text.endswith(" Dr") or len(text.split()) > 2


ADDRESS_RULES = (
    *(Rule("street address", by_pattern(pattern, _not_a_day)) for pattern in (_ENGLISH, _FRENCH, _GERMAN, _DUTCH)),
    Rule("street address", by_pattern(_SOUTHERN, bool)),
    Rule("street address", by_pattern(_BOX, bool), marks=("box ", "postfach ")),
)
CODE_RULES = (
    Rule("postal code", by_pattern(_UK, _uk)),
    Rule("postal code", by_pattern(_CANADA, bool)),
    Rule("postal code", by_fit(_US, _us_at)),
    Rule("postal code", in_context(_ANNOUNCED, 12, _ANY_CODE, bool), marks=("post", "zip", "plz", "cap")),
)
