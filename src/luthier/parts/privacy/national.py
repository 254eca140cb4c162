"""National identity numbers of people, each by the rule of the office that issues it.

One decision: a number that its shape and checksum leave in little doubt counts anywhere; bare digits, which
order numbers share, count only after the words that announce them.
Sources: the issuing offices' published rules (named at each function); the tests compare them with python-stdnum.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from luthier.parts.privacy.checksums import digits_of, luhn_sum, mod11_10, plain, real_date, short_date, verhoeff, weighted
from luthier.parts.privacy.rule import Rule, by_pattern, in_context


def ssn(text: str) -> bool:
    """US social security number: parts that are issued (SSA randomisation rules)."""
    d = "".join(map(str, digits_of(text)))
    return len(d) == 9 and d[:3] not in ("000", "666") and d[:3] < "900" and d[3:5] != "00" and d[5:] != "0000"


def dni(text: str) -> bool:
    """Spain, DNI and NIE: the letter is the number modulo 23."""
    number = plain(text)
    body = str("XYZ".index(number[0])) + number[1:-1] if number[0] in "XYZ" else number[:-1]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(body) % 23] == number[-1]


_ODD_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD_LETTERS = (*_ODD_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (*_ODD_DIGITS, *_ODD_LETTERS), strict=True))


def codice_fiscale(text: str) -> bool:
    """Italy: the last letter checks the fifteen characters before it (DM 12 March 1974)."""
    number = plain(text)
    total = sum(_ODD[c] if i % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for i, c in enumerate(number[:15]))
    return chr(65 + total % 26) == number[15]


def personnummer(text: str) -> bool:
    """Sweden: a date (the day may be raised by 60) and a Luhn digit."""
    d = digits_of(text)[-10:]
    day = d[4] * 10 + d[5]
    return short_date(d[0] * 10 + d[1], d[2] * 10 + d[3], day - 60 if day > 60 else day) and luhn_sum(d) == 0


def hetu(text: str) -> bool:
    """Finland: a date, a century sign, and a check character modulo 31."""
    t = text.upper()
    good = short_date(int(t[4:6]), int(t[2:4]), int(t[:2]))
    return good and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(t[:6] + t[7:10]) % 31] == t[10]


def fodselsnummer(text: str) -> bool:
    """Norway: a date and two check digits modulo 11."""
    d = digits_of(text)
    if len(d) != 11 or not short_date(d[4] * 10 + d[5], d[2] * 10 + d[3], (d[0] * 10 + d[1]) % 40):
        return False
    return weighted(d, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0 and weighted(d, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def cpr(text: str) -> bool:
    """Denmark: a date; the old check digit is no longer issued, so there is none."""
    d = digits_of(text)
    return len(d) == 10 and short_date(d[4] * 10 + d[5], d[2] * 10 + d[3], d[0] * 10 + d[1])


def nir(text: str) -> bool:
    """France: sex, year, month, department ... and 97 minus the number modulo 97."""
    number = plain(text).replace("2A", "19").replace("2B", "18") if plain(text)[5:7] in ("2A", "2B") else plain(text)
    if len(number) != 15 or not number.isdigit() or number[0] not in "1278" or not (1 <= int(number[3:5]) <= 12 or int(number[3:5]) >= 20):
        return False
    return 97 - int(number[:13]) % 97 == int(number[13:])


def rijksregister(text: str) -> bool:
    """Belgium: nine digits and 97 minus them modulo 97 (with a 2 before them for births from 2000)."""
    d = "".join(map(str, digits_of(text)))
    return len(d) == 11 and int(d[9:]) in (97 - int(d[:9]) % 97, 97 - int("2" + d[:9]) % 97)


def bsn(text: str) -> bool:
    """Netherlands: the eleven test."""
    d = digits_of(text)
    return len(d) == 9 and any(d) and weighted(d, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def nif(text: str) -> bool:
    """Portugal: modulo 11 over eight digits."""
    d = digits_of(text)
    check = -weighted(d, range(9, 1, -1)) % 11 if len(d) == 9 else 0
    return len(d) == 9 and d[0] in (1, 2, 3, 4) and (0 if check > 9 else check) == d[8]


def tax_id(text: str) -> bool:
    """Germany, Steuer-IdNr.: ISO 7064 mod 11-10, and one digit that repeats."""
    d = digits_of(text)
    return len(d) == 11 and d[0] != 0 and len(set(d[:10])) in (8, 9) and mod11_10(d)


def pesel(text: str) -> bool:
    """Poland: a date with the century in the month, and a weighted check digit."""
    d = digits_of(text)
    if len(d) != 11 or not short_date(d[0] * 10 + d[1], (d[2] * 10 + d[3]) % 20, d[4] * 10 + d[5]):
        return False
    return weighted(d, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def nhs(text: str) -> bool:
    """United Kingdom, NHS number: modulo 11."""
    d = digits_of(text)
    return len(d) == 10 and len(set(d)) > 1 and weighted(d, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def nino(text: str) -> bool:
    """United Kingdom, National Insurance number: prefixes that are issued."""
    return plain(text)[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def aadhaar(text: str) -> bool:
    """India: twelve digits, the first 2 to 9, with a Verhoeff check digit."""
    d = digits_of(text)
    return len(d) == 12 and d[0] > 1 and verhoeff(d)


def cpf(text: str) -> bool:
    """Brazil: two check digits modulo 11."""
    d = digits_of(text)
    if len(d) != 11 or len(set(d)) == 1:
        return False
    return all(weighted(d[:n], range(n + 1, 1, -1)) * 10 % 11 % 10 == d[n] for n in (9, 10))


def sin(text: str) -> bool:
    """Canada: nine digits with a Luhn digit, the first not 0 or 8."""
    d = digits_of(text)
    return len(d) == 9 and d[0] not in (0, 8) and luhn_sum(d) == 0


def tfn(text: str) -> bool:
    """Australia, tax file number: weighted, modulo 11."""
    d = digits_of(text)
    return len(d) == 9 and any(d) and weighted(d, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def resident_id(text: str) -> bool:
    """China: region, date of birth, and ISO 7064 mod 11-2."""
    t = text.upper()
    if not real_date(int(t[6:10]), int(t[10:12]), int(t[12:14])):
        return False
    total = weighted([int(c) for c in t[:17]], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))
    return "10X98765432"[total % 11] == t[17]


def ahv(text: str) -> bool:
    """Switzerland: 756 and an EAN-13 check digit."""
    d = digits_of(text)
    return len(d) == 13 and sum(x * (3 if i % 2 else 1) for i, x in enumerate(d)) % 10 == 0


def rodne_cislo(text: str) -> bool:
    """Czechia and Slovakia: a date (the month raised by 50 for women) and divisibility by 11."""
    d = digits_of(text)
    return (
        len(d) == 10
        and short_date(d[0] * 10 + d[1], (d[2] * 10 + d[3]) % 50 % 20, d[4] * 10 + d[5])
        and int("".join(map(str, d))) % 11 == 0
    )


def korean(text: str) -> bool:
    """Korea: a date, and a weighted check digit."""
    d = digits_of(text)
    good = len(d) == 13 and short_date(d[0] * 10 + d[1], d[2] * 10 + d[3], d[4] * 10 + d[5])
    return good and (11 - weighted(d, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10 == d[12]


def south_african(text: str) -> bool:
    """South Africa: a date and a Luhn digit."""
    d = digits_of(text)
    return len(d) == 13 and short_date(d[0] * 10 + d[1], d[2] * 10 + d[3], d[4] * 10 + d[5]) and luhn_sum(d) == 0


def curp(text: str) -> bool:
    """Mexico: the last digit checks the seventeen characters before it."""
    t = text.upper()
    total = sum("0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ".index(c) * (18 - i) for i, c in enumerate(t[:17]))
    return t[17].isdigit() and -total % 10 == int(t[17])


def turkish(text: str) -> bool:
    """Turkey: two check digits."""
    d = digits_of(text)
    return len(d) == 11 and d[0] != 0 and (7 * sum(d[0:9:2]) - sum(d[1:8:2])) % 10 == d[9] and sum(d[:10]) % 10 == d[10]


# Signs of which one must be in the text ("" for none), the shape, and the rule.
_ANYWHERE: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("", r"\d{8}-?[A-Z]", dni),
    ("xyz", r"[XYZ]-?\d{7}-?[A-Z]", dni),
    ("", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", codice_fiscale),
    ("-+", r"\d{6}(?:\d\d)?[-+]\d{4}", personnummer),
    ("-+a", r"\d{6}[-+A]\d{3}[0-9A-FHJ-NPR-Y]", hetu),
    ("", r"[1278] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", nir),
    (".", r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", rijksregister),
    ("", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]", nino),
    (" -", r"[2-9]\d{3}([ -])\d{4}\1\d{4}", aadhaar),
    ("", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", bool),
    ("-", r"\d{3}\.\d{3}\.\d{3}-\d\d", cpf),
    ("", r"\d{17}[\dX]", resident_id),
    (".", r"756\.\d{4}\.\d{4}\.\d\d", ahv),
    ("/", r"\d{6}/\d{4}", rodne_cislo),
    ("-", r"\d{6}-[1-8]\d{6}", korean),
    ("", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z\d]\d", curp),
)
_ANNOUNCED: tuple[tuple[str, str, str, Callable[[str], bool]], ...] = (
    ("nhs", r"NHS(?: (?:number|no\.?|nr\.?))?", r"\d{3}[ -]?\d{3}[ -]?\d{4}", nhs),
    ("bsn burgerservicenummer sofinummer", r"BSN|burgerservicenummer|sofinummer", r"\d{4}\.?\d{2}\.?\d{3}|\d{3} \d{3} \d{3}", bsn),
    ("nif contribuinte", r"NIF|contribuinte", r"\d{3} ?\d{3} ?\d{3}", nif),
    (
        "steuer tax idnr",
        r"Steuer-?ID(?:Nr\.?)?|Steueridentifikationsnummer|tax id(?:entification)?(?: number)?|IdNr\.?",
        r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
        tax_id,
    ),
    ("pesel", r"PESEL", r"\d{11}", pesel),
    ("dselsnummer personnr fnr", r"f[øo]dselsnummer|personnr\.?|fnr\.?", r"\d{6} ?\d{5}", fodselsnummer),
    ("cpr personnummer", r"CPR(?:[- ]?(?:nummer|nr\.?|number))?|personnummer", r"\d{6}[- ]?\d{4}", cpr),
    ("personnummer", r"personnummer", r"(?:19|20)?\d{6}[- ]?\d{4}", personnummer),
    ("aadhaar", r"aadhaar", r"\d{4}[ -]?\d{4}[ -]?\d{4}", aadhaar),
    ("cpf", r"CPF", r"\d{11}|\d{3}\.\d{3}\.\d{3}-\d\d", cpf),
    ("sin social", r"SIN|social insurance(?: number)?", r"\d{3}[ -]?\d{3}[ -]?\d{3}", sin),
    ("tfn tax", r"TFN|tax file number", r"\d{3} ?\d{3} ?\d{3}", tfn),
    ("id identity", r"ID number|identity number|RSA ID|SA ID", r"\d{6} ?\d{4} ?\d{3}", south_african),
    ("kimlik", r"T\.?C\.? ?kimlik(?: no)?|kimlik", r"\d{11}", turkish),
)
_SSN = re.compile(r"\d(?<![\w.-]\d)\d\d-\d\d-\d{4}(?![\w-])", re.ASCII)
_SSN_WORDS = re.compile(r"\b(?:SSN|social security(?: (?:number|no\.?|#))?)\b", re.IGNORECASE)
_SSN_ANY = re.compile(r"(?<![\w.-])\d{3}([ -]?)\d{2}\1\d{4}(?![\w-])", re.ASCII)


def _alone(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.+-])(?:{pattern})(?![\w-]|\.\d)", re.ASCII)


def _standing(pattern: str) -> re.Pattern[str]:
    """As `_alone`, but looking back after the first character: a search for a set of characters skips all others at once."""
    first = re.match(r"(\\d|\[[^]]+\]|\d)(?:\{(\d+)\})?", pattern)
    assert first is not None, pattern
    again = f"{first[1]}{{{int(first[2]) - 1}}}" if first[2] else ""
    return re.compile(rf"{first[1]}(?<![\w.+-].){again}{pattern[first.end() :]}(?![\w-]|\.\d)", re.ASCII)


def _announced(marks: str, words: str, value: str, test: Callable[[str], bool]) -> Rule:
    find = in_context(re.compile(rf"\b(?:{words})(?!\w)", re.IGNORECASE), 32, _alone(value), test)
    return Rule("national id", find, marks=tuple(marks.split()))


RULES = (
    *(_announced(*each) for each in _ANNOUNCED),
    *(Rule("national id", by_pattern(_standing(pattern), test), marks=tuple(marks)) for marks, pattern, test in _ANYWHERE),
    Rule("SSN", by_pattern(_SSN, ssn), marks=("-",)),
    Rule("SSN", in_context(_SSN_WORDS, 32, _SSN_ANY, ssn), marks=("ssn", "social")),
)
