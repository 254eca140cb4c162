"""The gold set of personal data: texts with one known value or none, in families looked at while building and families not.

One decision: what is `seen` was fixed before any rule was measured. Rules may be changed for a failure of a seen family;
the unseen ones (other writings, other sentences, other hard negatives) are only ever counted. A value must be found with
its kind and its exact span; anything else that is reported is a false positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import pii_values as v

Make = Callable[[Random], str]


@dataclass(frozen=True)
class Item:
    """A text; the value's kind and span, or kind "" for a hard negative; the family it is from."""

    text: str
    kind: str
    start: int
    end: int
    family: str
    seen: bool


@dataclass(frozen=True)
class Family:
    """How values of one writing are made, and the sentences that they stand in ({} is the value)."""

    kind: str
    name: str
    seen: bool
    make: Make
    sentences: tuple[str, ...] = ()


SEEN_SENTENCES = (
    "Please use {} from now on.",
    "{}",
    "My details are {}, thank you.",
    "I entered {} twice and it failed.",
    "The form says {}. Is that right?",
    "Here it is: {}",
)
UNSEEN_SENTENCES = (
    "It used to be {}; not any more!",
    "({})",
    "<td>{}</td>",
    '{{"value": "{}", "ok": true}}',
    "Das war “{}” – oder?",
    "row=7|{}|end",
    "Ticket 12\n\n{}\n\nThanks",
    "日本語のテキスト {} です",
)
_PHONE_SEEN = ("Call me on {}.", "tel. {}", "My phone number is {}, ring any time.", "Phone: {}")
_PHONE_UNSEEN = ("WhatsApp: {}", "mobile {} (evenings)", "Telefon {}", "you can reach me at {} after six", "Fax {}")
_BORN_SEEN = ("Date of birth: {}", "I was born on {} in Leeds.", "DOB {}")
_BORN_UNSEEN = ("DOB: {}, male", "birth date - {}", "née le {}", "geboren am {} in Wien", "She was born {} near Lyon", "D.O.B. {}")
_PASSPORT_SEEN = ("My passport number is {}.", "Passport no. {}")
_PASSPORT_UNSEEN = ("passport: {}, expires 2031", "Reisepass {}", "Passport No {} issued in Rome", "the passport ({}) was lost")


def _said(*words: str) -> tuple[str, ...]:
    return tuple(f"{w} {{}}" for w in words) + tuple(f"My {w} is {{}}, please check." for w in words)


def _all(kind: str, seen: bool, maker: Callable[[Random, str], str], styles: str, sentences: tuple[str, ...] = ()) -> tuple[Family, ...]:
    return tuple(
        Family(kind, f"{kind}: {s}", seen, partial(maker, style=s) if _takes_style(maker) else maker, sentences) for s in styles.split()
    )


def _takes_style(maker: Callable[..., str]) -> bool:
    return "style" in maker.__code__.co_varnames[:2]


def _key(rng: Random, style: str) -> str:
    hexes = "0123456789abcdef"
    upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return {
        "aws": lambda: "AKIA" + v.token(rng, 16, upper),
        "github": lambda: "ghp_" + v.token(rng, 36),
        "openai": lambda: "sk-" + v.token(rng, 48),
        "slack": lambda: f"xoxb-{v.digits(rng, 12, '123')}-{v.digits(rng, 12, '123')}-{v.token(rng, 24)}",
        "stripe": lambda: "sk_live_" + v.token(rng, 24),
        "google": lambda: "AIza" + v.token(rng, 35),
        "gitlab": lambda: "glpat-" + v.token(rng, 20),
        "jwt": lambda: v.jwt(rng),
        "npm": lambda: "npm_" + v.token(rng, 36),
        "sendgrid": lambda: f"SG.{v.token(rng, 22)}.{v.token(rng, 43)}",
        "hf": lambda: "hf_" + v.token(rng, 34),
        "twilio": lambda: "SK" + v.token(rng, 32, hexes),
        "anthropic": lambda: "sk-ant-api03-" + v.token(rng, 60),
        "telegram": lambda: f"{v.digits(rng, 10, '123')}:AA{v.token(rng, 33)}",
    }[style]()


def _password(rng: Random, style: str) -> str:
    return v.token(rng, 8) + {"plain": "", "signs": "#x9"}[style]


FAMILIES: tuple[Family, ...] = (
    *_all("e-mail address", True, v.email, "plain number under"),
    *_all("e-mail address", False, v.email, "plus deep upper digits idn written long"),
    *_all("phone number", True, v.phone, "us-plus us-paren us-dash uk-plus uk de-plus"),
    *_all("phone number", False, v.phone, "us-tight fr-plus in-plus br-plus double-zero"),
    *_all("phone number", True, v.phone, "fr", _PHONE_SEEN),
    *_all("phone number", False, v.phone, "us-dot au es-said uk-mobile", _PHONE_UNSEEN),
    Family("card number", "visa, groups of four", True, lambda r: v.fours(v.card(r, "4", 16))),
    Family("card number", "mastercard, plain", True, lambda r: v.card(r, r.choice(("51", "55")), 16)),
    Family("card number", "amex, plain", False, lambda r: v.card(r, r.choice(("34", "37")), 15)),
    Family("card number", "visa, dashes", False, lambda r: v.fours(v.card(r, "4", 16), "-")),
    Family("card number", "discover", False, lambda r: v.card(r, "6011", 16)),
    Family("card number", "mastercard, 2-series", False, lambda r: v.fours(v.card(r, "2345", 16))),
    Family("IBAN", "DE and GB, spaced", True, lambda r: v.fours(v.iban(r, r.choice(("DE", "GB"))))),
    Family("IBAN", "ES and IT, plain", True, lambda r: v.iban(r, r.choice(("ES", "IT")))),
    Family("IBAN", "short and long, plain", False, lambda r: v.iban(r, r.choice(("NO", "MT", "BE")))),
    Family("IBAN", "others, spaced", False, lambda r: v.fours(v.iban(r, r.choice(("FR", "NL", "CH", "PL", "SE", "AE"))))),
    Family("IBAN", "dashes and small letters", False, lambda r: v.fours(v.iban(r, r.choice(("AT", "IE"))), "-").lower()),
    Family("SSN", "dashes", True, v.ssn),
    Family("SSN", "spaces, announced", False, lambda r: v.ssn(r, " "), _said("SSN", "social security number")),
    Family("SSN", "plain, announced", False, lambda r: v.ssn(r, ""), ("SSN: {}", "Social Security No. {}", "my social security # {}")),
    Family("SSN", "dashes, other sentences", False, v.ssn),
    Family("IP address", "IPv4", True, v.ipv4),
    Family("IP address", "IPv6, whole", True, lambda r: v.ipv6(r, False)),
    Family(
        "IP address", "IPv4, other sentences", False, v.ipv4, ("ping {}", "from {}:443 to here", "http://{}/index.html", "[{}] connected")
    ),
    Family("IP address", "IPv6, short", False, lambda r: v.ipv6(r, True)),
    Family("MAC address", "colons", True, lambda r: v.mac(r, ":")),
    Family("MAC address", "dashes", False, lambda r: v.mac(r, "-").upper()),
    Family("MAC address", "dotted", False, lambda r: v.mac(r, ".")),
    Family("URL with password", "https", True, lambda r: f"https://{r.choice(v.FIRST).lower()}:{v.token(r, 10)}@{r.choice(v.WORDS)}.com/x"),
    Family(
        "URL with password",
        "database",
        False,
        lambda r: f"postgresql://app:{v.token(r, 12)}@db.{r.choice(v.WORDS)}.internal:5432/main",
        ("DSN={}", "connect to {} first", "'{}'"),
    ),
    Family(
        "URL with password",
        "ftp",
        False,
        lambda r: f"ftp://{r.choice(v.LAST).lower()}:{v.token(r, 8)}!@files.{r.choice(v.WORDS)}.org",
        ("see {} for it", "<{}>"),
    ),
    *_all("access key", True, _key, "aws github openai slack"),
    *_all("access key", False, _key, "stripe google gitlab jwt npm sendgrid hf twilio anthropic telegram"),
    Family("private key", "RSA", True, lambda r: v.pem(r, "RSA ")),
    Family("private key", "others", False, lambda r: v.pem(r, r.choice(("", "EC ", "OPENSSH ", "ENCRYPTED ")))),
    *_all("password", True, _password, "plain", ("My password is {} and it fails.", "password: {}", "PASSWORD={}")),
    *_all("password", False, _password, "signs", ("pwd = '{}'", '"api_key": "{}"', "the passphrase is {}.", "db_password: {}")),
    *_all("national id", True, v.national, "es se uk-nino br"),
    *_all("national id", False, v.national, "es-nie fi fr fr-spaced be cn ch in in-pan cz kr"),
    Family("national id", "PL, announced", True, partial(v.national, style="pl"), _said("PESEL")),
    Family("national id", "NHS, announced", False, partial(v.national, style="uk-nhs"), _said("NHS number")),
    Family("national id", "BSN, announced", False, partial(v.national, style="nl"), _said("BSN", "burgerservicenummer")),
    Family("national id", "SIN, announced", False, partial(v.national, style="ca"), _said("SIN", "social insurance number")),
    Family("national id", "TFN, announced", False, partial(v.national, style="au"), _said("TFN", "tax file number")),
    Family("national id", "CPF, announced", False, partial(v.national, style="br-said"), _said("CPF")),
    Family("passport", "letters and digits", True, lambda r: r.choice("ABCKLX") + v.digits(r, 8), _PASSPORT_SEEN),
    Family("passport", "digits", False, lambda r: v.digits(r, 9, "123456789"), _PASSPORT_UNSEEN),
    Family("passport", "mixed", False, lambda r: r.choice(("AB", "YA")) + v.digits(r, 7), _PASSPORT_UNSEEN),
    Family("passport", "machine-readable zone", False, v.zone, ("{}", "Scan:\n{}\nend")),
    *_all("date of birth", True, v.birth, "iso slashes words us-words", _BORN_SEEN),
    *_all("date of birth", False, v.birth, "us-slashes dots short ordinal abbreviated", _BORN_UNSEEN),
    *_all("street address", True, v.address, "street avenue de fr"),
    *_all("street address", False, v.address, "us es it short flat numbered nl box"),
    Family("postal code", "UK", True, partial(v.postcode, style="uk")),
    Family("postal code", "US, after the state", True, partial(v.postcode, style="us"), ("Los Angeles, CA {}", "CA {} is where I live")),
    Family("postal code", "CA", False, partial(v.postcode, style="ca")),
    Family("postal code", "UK, other areas", False, partial(v.postcode, style="uk-other")),
    Family("postal code", "US, nine digits", False, partial(v.postcode, style="us-nine"), ("Albany, NY {}", "Buffalo NY {}, USA")),
    Family("postal code", "DE, announced", False, partial(v.postcode, style="de-said"), ("PLZ {}", "Postleitzahl: {}")),
)


def _not_iban(r: Random) -> str:
    good = v.iban(r, r.choice(("DE", "ES", "BE")))
    return good[:-1] + str((int(good[-1]) + r.randint(1, 9)) % 10)


_HEX = "0123456789abcdef"
NEGATIVES: tuple[tuple[str, bool, Make], ...] = (
    ("order number", True, lambda r: f"Order {v.digits(r, 10, '123456789')} has not arrived."),
    ("version", True, lambda r: f"Since version {r.randint(1, 20)}.{r.randrange(20)}.{r.randrange(90)}.{r.randrange(9)} it crashes."),
    ("ISBN", True, lambda r: f"ISBN 978-{r.randrange(10)}-{v.digits(r, 4)}-{v.digits(r, 4)}-{r.randrange(10)}"),
    ("timestamp", True, lambda r: f"At {v.day(r, 2015, 2025)} {r.randrange(24):02d}:{r.randrange(60):02d}:{r.randrange(60):02d} it failed."),
    ("16 digits, not Luhn", True, lambda r: f"Reference {v.not_card(r)} again."),
    ("IBAN, wrong check digits", True, lambda r: f"The account {_not_iban(r)} does not exist."),
    ("SSN, never issued", True, lambda r: f"Part {r.choice(('000', '666', '900'))}-{v.digits(r, 2)}-{v.digits(r, 4)} is sold out."),
    ("octet too large", True, lambda r: f"The value {r.randint(256, 999)}.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(256)} is odd."),
    ("handle", True, lambda r: f"Thanks to @{r.choice(v.FIRST).lower()}{r.randrange(99)} for the hint."),
    ("UUID", True, lambda r: f"Request {v.token(r, 8, _HEX)}-{v.token(r, 4, _HEX)}-4{v.token(r, 3, _HEX)}-a{v.token(r, 3, _HEX)}-{v.token(r, 12, _HEX)} failed."),
    ("money and prose", True, lambda r: f"I paid {r.randint(1, 99)},{v.digits(r, 3)}.{v.digits(r, 2)} and {r.randint(2, 9)} days later it was back."),
    ("password prose", True, lambda r: f"The password must have {r.randint(8, 16)} characters; I forgot my password."),
    ("EAN-13", False, lambda r: f"EAN {r.choice(('400', '500', '871'))}{v.digits(r, 10)}"),
    ("tracking number", False, lambda r: f"Track 1Z{v.token(r, 6, 'ABCDEFGH0123456789')}{v.digits(r, 10)} please."),
    ("DOI and arXiv", False, lambda r: f"See doi:10.{v.digits(r, 4, '1')}/{v.digits(r, 6)} and arXiv:{r.randint(15, 25)}{r.randint(1, 12):02d}.{v.digits(r, 5)}."),
    ("coordinates", False, lambda r: f"We met at {r.uniform(-80, 80):.6f}, {r.uniform(-170, 170):.6f} at noon."),
    ("C++ names", False, lambda r: f"Call std::{r.choice(v.WORDS)}::{r.choice(('begin', 'add', 'face'))} and a::b for {r.randrange(9)} items."),
    ("clock times", False, lambda r: f"{r.randrange(24):02d}:{r.randrange(60):02d}:{r.randrange(60):02d}.{v.digits(r, 3)} elapsed, then {r.randrange(60):02d}:{r.randrange(60):02d}:{r.randrange(60):02d}"),
    ("OID and sections", False, lambda r: f"OID 1.3.6.1.4.1.{v.digits(r, 3, '123')}, see section {r.randint(1, 9)}.{r.randint(1, 9)}.{r.randint(1, 9)}.{r.randint(1, 9)}."),
    ("fingerprint", False, lambda r: "SHA1 " + ":".join(v.token(r, 2, _HEX).upper() for _ in range(20))),
    ("dates of things", False, lambda r: f"The bridge was opened on {v.day(r, 1900, 2020):%d %B %Y} and closed {v.day(r, 2021, 2024):%d.%m.%Y}."),
    ("package versions", False, lambda r: f"npm i @{r.choice(v.WORDS)}/{r.choice(v.WORDS)}@{r.randrange(9)}.{r.randrange(9)}.{r.randrange(9)} and {r.choice(v.WORDS)}@^{r.randrange(9)}.0.0"),
    ("image at twice its size", False, lambda r: f"<img src='{r.choice(v.WORDS)}@{r.randint(2, 3)}x.png'>"),
    ("ISIN and VIN", False, lambda r: f"ISIN US{v.digits(r, 10)}, VIN 1HGCM{v.digits(r, 5)}A{v.digits(r, 6)}"),
    ("placeholders of keys", False, lambda r: f"Set API_KEY=your-api-key-here or AKIA{'X' * r.randint(3, 9)} or sk-{'x' * 6} or token ghp_{'*' * r.randint(4, 30)}."),
    ("years and scores", False, lambda r: f"{r.randint(1950, 1999)}-{r.randint(2000, 2024)}: {r.randrange(9)}-{r.randrange(9)}, {r.randrange(9)}-{r.randrange(9)}; {r.randint(10, 99)} x {r.randint(10, 99)} x {r.randint(10, 99)} mm"),
    ("hashes", False, lambda r: f"commit {v.token(r, 40, _HEX)} ({v.token(r, 7, _HEX)})"),
    ("public key", False, lambda r: f"-----BEGIN PUBLIC KEY-----\n{v.token(r, 64)}\n-----END PUBLIC KEY-----"),
    ("URL without password", False, lambda r: f"https://{r.choice(v.WORDS)}.com:{r.randint(1000, 9999)}/a@{r.randrange(9)}?q={v.digits(r, 6)}#x:y"),
    ("passport prose", False, lambda r: f"Passport control at desk {r.randint(1, 40)} closes at {r.randint(10, 23)}:30; my birthday is in {r.choice(('May', 'June'))}."),
    ("long decimals", False, lambda r: f"pi is 3.{v.digits(r, 15)}, e is 2.{v.digits(r, 12)}; {v.digits(r, 5, '123')} {v.digits(r, 5, '123')} {v.digits(r, 5, '123')}"),
    ("addressless streets", False, lambda r: f"Wall Street fell {r.randint(2, 9)} points on Main Street news, {r.randint(2, 30)} Drivers said."),
    ("product codes", False, lambda r: f"Model {r.choice('QZ')}{r.randint(1, 9)}-{v.digits(r, 4)}, SKU {v.digits(r, 3)}-{v.digits(r, 3)}, part {v.digits(r, 2)}-{v.digits(r, 5)}."),
)  # fmt: skip


def gold_set(num_items: int = 5000, seed: int = 0) -> list[Item]:
    """`num_items` items: half of them seen, half of each half hard negatives; the families of a half in turn."""
    rng, items = Random(seed), []
    quarter = num_items // 4
    for seen in (True, False):
        kinds: dict[str, list[Family]] = {}
        for family in FAMILIES:
            if family.seen == seen:
                kinds.setdefault(family.kind, []).append(family)
        order = list(kinds.values())
        for i in range(quarter):
            of_kind = order[i % len(order)]
            items.append(_positive(of_kind[(i // len(order)) % len(of_kind)], rng))
        negatives = [n for n in NEGATIVES if n[1] == seen]
        for i in range(quarter):
            name, _, make = negatives[i % len(negatives)]
            items.append(Item(make(rng), "", 0, 0, name, seen))
    return items


def _positive(family: Family, rng: Random) -> Item:
    value = family.make(rng)
    sentence = rng.choice(family.sentences or (SEEN_SENTENCES if family.seen else UNSEEN_SENTENCES))
    before, after = sentence.replace("{{", "\1").replace("}}", "\2").split("{}")
    before, after = (part.replace("\1", "{").replace("\2", "}") for part in (before, after))
    return Item(before + value + after, family.kind, len(before), len(before) + len(value), family.name, family.seen)
