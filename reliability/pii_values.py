"""Makers of personal data that belongs to nobody: random values with the check digits that real ones have.

One decision: the makers compute their check digits apart from the code that verifies them, so that a mistake in one
is not hidden by the same mistake in the other.
"""

from __future__ import annotations

import base64
import ipaddress
from datetime import date, timedelta
from random import Random

FIRST = [
    "Anna",
    "Ben",
    "Carla",
    "David",
    "Emma",
    "Farid",
    "Grace",
    "Hugo",
    "Ines",
    "Jonas",
    "Karin",
    "Liam",
    "Mona",
    "Noah",
    "Olga",
    "Pavel",
    "Rosa",
    "Sami",
    "Tara",
    "Uwe",
    "Vera",
    "Yusuf",
    "Zoe",
]
LAST = [
    "Adler",
    "Brown",
    "Costa",
    "Dubois",
    "Evans",
    "Fischer",
    "Garcia",
    "Hansen",
    "Ivanov",
    "Jones",
    "Keller",
    "Lopez",
    "Meyer",
    "Novak",
    "Olsen",
    "Patel",
    "Rossi",
    "Smith",
    "Tanaka",
    "Weber",
]
WORDS = [
    "north",
    "river",
    "stone",
    "maple",
    "data",
    "cloud",
    "blue",
    "green",
    "fast",
    "quick",
    "home",
    "work",
    "mail",
    "shop",
    "team",
    "lab",
    "studio",
]


def digits(rng: Random, n: int, first: str = "0123456789") -> str:
    """n random digits, the first of them from `first`."""
    return rng.choice(first) + "".join(rng.choices("0123456789", k=n - 1)) if n else ""


def with_luhn(body: str) -> str:
    """The body and the digit that makes it pass Luhn."""
    return body + next(str(d) for d in range(10) if luhn_total(body + str(d)) % 10 == 0)


def luhn_total(number: str) -> int:
    """The Luhn sum, by the book: every second digit from the right doubled, digits of products added."""
    return sum(sum(divmod(int(c) * (1 + i % 2), 10)) for i, c in enumerate(reversed(number)))


def card(rng: Random, prefix: str, length: int) -> str:
    """A card number of a network."""
    return with_luhn(prefix + digits(rng, length - 1 - len(prefix)))


def not_card(rng: Random) -> str:
    """Sixteen digits with a network's prefix that fail Luhn."""
    good = card(rng, rng.choice(("4", "52", "6011")), 16)
    return good[:-1] + str((int(good[-1]) + rng.randint(1, 9)) % 10)


_BBAN_TEXT = """DE n18 GB a4n14 FR n10c11n2 NL a4n10 NO n11 ES n20 IT a1n10c12 MT a4n5c18 CH n5c12 PL n24 BE n12 SE n20 AE n19 AT n16
IE a4n14"""
_BBAN = dict(zip(_BBAN_TEXT.split()[::2], _BBAN_TEXT.split()[1::2], strict=True))


def iban(rng: Random, country: str) -> str:
    """An IBAN without spaces."""
    body, spec = "", _BBAN[country]
    while spec:
        kind, spec = spec[0], spec[1:]
        size = ""
        while spec and spec[0].isdigit():
            size, spec = size + spec[0], spec[1:]
        pool = {"n": "0123456789", "a": "ABCDEFGHJKLMNPQRSTUVWXYZ", "c": "0123456789ABCDEFGHJK"}[kind]
        body += "".join(rng.choices(pool, k=int(size)))
    number = "".join(str(int(c, 36)) for c in body + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{body}"


def fours(text: str, sep: str = " ") -> str:
    """Groups of four."""
    return sep.join(text[i : i + 4] for i in range(0, len(text), 4))


def day(rng: Random, first: int = 1935, last: int = 2004) -> date:
    """A random day."""
    return date(first, 1, 1) + timedelta(days=rng.randrange((last - first + 1) * 365))


def email(rng: Random, style: str) -> str:
    """An e-mail address in one of several styles."""
    first, last, word = rng.choice(FIRST).lower(), rng.choice(LAST).lower(), rng.choice(WORDS)
    n = rng.randrange(1000)
    return {
        "plain": f"{first}.{last}@{word}{n}.com",
        "number": f"{first}{n}@{word}.org",
        "under": f"{first}_{last}@{word}-{rng.choice(WORDS)}.net",
        "plus": f"{first}+{word}{n}@{word}.io",
        "deep": f"{first}.{last}@eu.{word}.{rng.choice(WORDS)}.co.uk",
        "upper": f"{first}.{last}@{word}{n}.com".upper(),
        "digits": f"{digits(rng, 8, '123')}@{word}.edu",
        "idn": f"{first}@m{'ü' if n % 2 else 'é'}nchen-{word}.de",
        "written": f"{first}.{last} [at] {word} [dot] com",
        "long": f"{first}-{last}-{n}@{word}.technology",
    }[style]


def phone(rng: Random, style: str) -> str:
    """A telephone number of a plan that exists, in one of several writings."""
    ex, line = digits(rng, 2, "23456789"), digits(rng, 4)
    ex = f"{rng.choice('2345678')}{ex}"
    area = rng.choice(("202", "212", "305", "312", "415", "503", "617", "713"))
    styles = {
        "us-plus": f"+1 {area}-{ex}-{line}",
        "us-paren": f"({area}) {ex}-{line}",
        "us-dash": f"{area}-{ex}-{line}",
        "uk-plus": f"+44 20 7{digits(rng, 3)} {line}",
        "uk": f"020 7{digits(rng, 3)} {line}",
        "de-plus": f"+49 30 {digits(rng, 8, '23456789')}",
        "us-dot": f"{area}.{ex}.{line}",
        "us-tight": f"+1{area}{ex}{line}",
        "fr": f"0{rng.choice('67')} {digits(rng, 2, '1234')} {digits(rng, 2)} {digits(rng, 2)} {digits(rng, 2)}",
        "fr-plus": f"+33 {rng.choice('1234')} {digits(rng, 2, '4567')} {digits(rng, 2)} {digits(rng, 2)} {digits(rng, 2)}",
        "in-plus": f"+91 {digits(rng, 5, '789')} {digits(rng, 5)}",
        "au": f"04{digits(rng, 2, '0123')} {digits(rng, 3)} {digits(rng, 3)}",
        "br-plus": f"+55 11 9{digits(rng, 4, '6789')}-{line}",
        "es-said": f"6{digits(rng, 2, '0123')} {digits(rng, 3)} {digits(rng, 3)}",
        "uk-mobile": f"07{rng.choice('4578')}{digits(rng, 2)} {digits(rng, 6, '12345')}",
        "double-zero": f"0049 30 {digits(rng, 8, '23456789')}",
    }
    return styles[style]


def ssn(rng: Random, sep: str = "-") -> str:
    """A US social security number of parts that are issued."""
    area = rng.choice([a for a in range(1, 900) if a != 666])
    return f"{area:03d}{sep}{rng.randint(1, 99):02d}{sep}{rng.randint(1, 9999):04d}"


def ipv4(rng: Random) -> str:
    """A public or private address."""
    return f"{rng.choice((10, 23, 52, 81, 172, 192, 203))}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randint(1, 254)}"


def ipv6(rng: Random, short: bool) -> str:
    """A global address, compressed or not."""
    address = ipaddress.IPv6Address((0x2001 << 112) | rng.getrandbits(112 if not short else 24) | (0x0DB8 << 96 if short else 0))
    return str(address) if short else address.exploded


def mac(rng: Random, sep: str) -> str:
    """A hardware address; `.` gives three groups of four."""
    pairs = [f"{rng.randrange(256):02x}" for _ in range(6)]
    pairs[0] = "a" + pairs[0][1]
    return ".".join("".join(pairs[i : i + 2]) for i in (0, 2, 4)) if sep == "." else sep.join(pairs)


def token(rng: Random, n: int, pool: str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") -> str:
    """n random characters with a digit among them."""
    body = rng.choices(pool, k=n)
    body[n // 2] = rng.choice([c for c in pool if c.isdigit()] or list(pool))
    return "".join(body)


def jwt(rng: Random) -> str:
    """A JSON web token."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(f'{{"sub":"{rng.randrange(10**9)}","name":"x"}}'.encode()).decode().rstrip("=")
    return f"{head}.{body}.{token(rng, 43)}"


def pem(rng: Random, kind: str) -> str:
    """A block that looks like a private key."""
    lines = "\n".join(token(rng, 64) for _ in range(rng.randint(3, 8)))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n{token(rng, 20)}==\n-----END {kind}PRIVATE KEY-----"


def _verhoeff_digit(body: str) -> str:
    """The check digit by multiplication in the dihedral group D5, without tables of products."""

    def times(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    def permuted(digit: int, rounds: int) -> int:
        for _ in range(rounds):
            digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
        return digit

    def total(number: str) -> int:
        c = 0
        for i, d in enumerate(reversed(number)):
            c = times(c, permuted(int(d), i % 8))
        return c

    return next(str(d) for d in range(10) if total(body + str(d)) == 0)


def _until(make, good):
    while True:
        value = make()
        if good(value):
            return value


def national(rng: Random, style: str) -> str:
    """A national number of a country with its check digits."""
    born = day(rng)
    d6 = f"{born:%y%m%d}"
    if style == "es":
        n = rng.randrange(10**8)
        return f"{n:08d}{'TRWAGMYFPDXBNJZSQVHLCKE'[n % 23]}"
    if style == "es-nie":
        n = rng.randrange(3 * 10**7)
        return f"{'XYZ'[n // 10**7]}{n % 10**7:07d}{'TRWAGMYFPDXBNJZSQVHLCKE'[n % 23]}"
    if style == "se":
        return f"{d6}-{with_luhn(d6 + digits(rng, 3))[-4:]}"
    if style == "fi":
        serial = rng.randint(2, 899)
        check = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(f"{born:%d%m%y}{serial:03d}") % 31]
        return f"{born:%d%m%y}{'-' if born.year < 2000 else 'A'}{serial:03d}{check}"
    if style == "uk-nino":
        prefix = rng.choice("ABCEHJKLMPRSW") + rng.choice("ABCEHJKLMPRSW")
        return f"{prefix} {digits(rng, 2)} {digits(rng, 2)} {digits(rng, 2)} {rng.choice('ABCD')}"
    if style in ("br", "br-said"):
        body = digits(rng, 9)
        for n in (10, 11):
            rest = sum(int(c) * w for c, w in zip(body, range(n, 1, -1), strict=True)) % 11
            body += str(0 if rest < 2 else 11 - rest)
        return body if style == "br-said" else f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"
    if style in ("fr", "fr-spaced"):
        body = f"{rng.choice('12')}{d6[:4]}{rng.randint(1, 95):02d}{digits(rng, 6)}"
        body = f"{body[:5]}{rng.choice(('75', '13', '69', '33'))}{body[7:]}"
        full = f"{body}{97 - int(body) % 97:02d}"
        cut = (1, 3, 5, 7, 10, 13, 15)
        return full if style == "fr" else " ".join(full[a:b] for a, b in zip((0, *cut), cut, strict=False))
    if style == "be":
        serial = f"{rng.randint(1, 997):03d}"
        check = 97 - int(("2" if born.year >= 2000 else "") + d6 + serial) % 97
        return f"{d6[:2]}.{d6[2:4]}.{d6[4:]}-{serial}.{check:02d}"
    if style == "cn":
        body = f"{rng.choice(('110101', '310101'))}{born:%Y%m%d}{digits(rng, 3)}"
        rest = sum(int(c) * pow(2, 17 - i, 11) for i, c in enumerate(body)) % 11
        return body + "10X98765432"[rest]
    if style == "ch":
        body = "756" + digits(rng, 9)
        check = -sum(int(c) * (1, 3)[i % 2] for i, c in enumerate(body)) % 10
        return f"756.{body[3:7]}.{body[7:11]}.{body[11]}{check}"
    if style == "in":
        body = digits(rng, 11, "23456789")
        return fours(body + _verhoeff_digit(body))
    if style == "in-pan":
        return (
            "".join(rng.choices("ABCDEFGHKLMNPRSTUVWXYZ", k=3))
            + "P"
            + rng.choice("ABCDEFGHKLM")
            + digits(rng, 4)
            + rng.choice("ABCDEFGHKLM")
        )
    if style == "cz":
        return _until(lambda: f"{day(rng, 1955, 2003):%y%m%d}/{digits(rng, 4)}", lambda v: int(v.replace("/", "")) % 11 == 0)
    if style == "kr":
        body = f"{d6}{rng.choice('12' if born.year < 2000 else '34')}{rng.randint(0, 95):02d}{digits(rng, 3)}"
        check = (11 - sum(int(c) * (2 + i % 8) for i, c in enumerate(body)) % 11) % 10
        return f"{body[:6]}-{body[6:]}{check}"
    if style == "pl":
        born = day(rng, 1935, 1999)
        body = f"{born:%y%m%d}{digits(rng, 4)}"
        return body + str(-sum(int(c) * (1, 3, 7, 9)[i % 4] for i, c in enumerate(body)) % 10)
    if style == "nl":
        return _until(lambda: digits(rng, 9, "123"), lambda v: (sum(int(c) * (9 - i) for i, c in enumerate(v[:8])) - int(v[8])) % 11 == 0)
    if style == "uk-nhs":
        body = _until(lambda: digits(rng, 9, "4679"), lambda v: sum(int(c) * (10 - i) for i, c in enumerate(v)) % 11 != 1)
        check = (11 - sum(int(c) * (10 - i) for i, c in enumerate(body)) % 11) % 11
        return f"{body[:3]} {body[3:6]} {body[6:]}{check}"
    if style == "ca":
        number = with_luhn(digits(rng, 8, "1234567"))
        return f"{number[:3]} {number[3:6]} {number[6:]}"
    assert style == "au", style
    weights = (1, 4, 3, 7, 5, 8, 6, 9, 10)
    return _until(lambda: digits(rng, 9, "12345678"), lambda v: sum(int(c) * w for c, w in zip(v, weights, strict=True)) % 11 == 0)


def zone(rng: Random) -> str:
    """The machine-readable zone of a passport."""

    def check(text: str) -> str:
        value = {c: i for i, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")} | {"<": 0}
        return str(sum(value[c] * (7, 3, 1)[i % 3] for i, c in enumerate(text)) % 10)

    first = f"P<UTO{rng.choice(LAST).upper()}<<{rng.choice(FIRST).upper()}".ljust(44, "<")
    number, born, ends = token(rng, 9, "ABCDEFGHKLM0123456789"), f"{day(rng):%y%m%d}", f"{day(rng, 2027, 2033):%y%m%d}"
    body = f"{number}{check(number)}UTO{born}{check(born)}F{ends}{check(ends)}{'<' * 14}0"
    return f"{first}\n{body}{check(body[:10] + body[13:20] + body[21:43])}"


def birth(rng: Random, style: str) -> str:
    """A date of birth as people write it."""
    born = day(rng)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(born.day % 10 if born.day not in (11, 12, 13) else 0, "th")
    return {
        "iso": f"{born:%Y-%m-%d}",
        "slashes": f"{born:%d/%m/%Y}",
        "words": f"{born.day} {born:%B} {born.year}",
        "us-words": f"{born:%B} {born.day}, {born.year}",
        "us-slashes": f"{born.month}/{born.day}/{born.year}",
        "dots": f"{born:%d.%m.%Y}",
        "short": f"{born:%d/%m/%y}",
        "ordinal": f"{born.day}{ending} of {born:%B} {born.year}",
        "abbreviated": f"{born.day} {born:%b} {born.year}",
    }[style]


def address(rng: Random, style: str) -> str:
    """A street address."""
    n, name, word = rng.randint(1, 999), rng.choice(LAST), rng.choice(WORDS).title()
    return {
        "street": f"{n} {name} Street",
        "avenue": f"{n} {word} Avenue",
        "us": f"{n} North {name} Road",
        "de": f"{name}straße {n}",
        "fr": f"{n} rue de {name}",
        "es": f"Calle {name} {n}",
        "it": f"Via {name} {n}",
        "short": f"{n} {name} St.",
        "flat": f"{n} {word} Lane, Apt 4",
        "numbered": f"{n} {rng.randint(4, 20)}th Avenue",
        "nl": f"{name}straat {n}",
        "box": f"PO Box {n}",
    }[style]


def postcode(rng: Random, style: str) -> str:
    """A postal code whose country can be checked, or that is announced."""
    letters = "ABDEFGHJLNPQRSTUWXYZ"
    inward = f"{rng.randrange(10)}{rng.choice(letters)}{rng.choice(letters)}"
    second = f"{rng.randrange(10)}{rng.choice('ABCEGH')}{rng.randrange(10)}"
    return {
        "uk": f"{rng.choice(('SW1A', 'M1', 'B33', 'CR2', 'EC1A', 'LS6', 'OX4'))} {inward}",
        "us": f"{rng.choice(('90', '94', '92'))}{digits(rng, 3)}",
        "ca": f"{rng.choice('KLMNV')}{rng.randrange(10)}{rng.choice('ABCEGH')} {second}",
        "uk-other": f"{rng.choice(('EH1', 'CF10', 'BT7', 'G12', 'NE4', 'W1T'))} {inward}",
        "us-nine": f"{rng.choice(('10', '11', '12'))}{digits(rng, 3)}-{digits(rng, 4)}",
        "de-said": digits(rng, 5, "123456789"),
    }[style]
