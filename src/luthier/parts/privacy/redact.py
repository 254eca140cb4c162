"""Consistent redaction: each value becomes a pseudonym that depends on nothing but the value and a secret key.

One decision: pseudonyms are keyed hashes (HMAC-SHA256), not numbers in the order of appearance: no table of
values is kept anywhere, rows can be redacted in any order and in any process, and without the key nobody can
test a guess against the output.
Source: RFC 2104 (HMAC); NIST SP 800-188 on keyed pseudonyms.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from luthier.core.errors import UserError
from luthier.core.files import fsync_path, make_folder, writing
from luthier.parts.privacy.checksums import plain
from luthier.parts.privacy.find import STRUCTURED, find_values
from luthier.parts.privacy.fold import fold
from luthier.parts.privacy.rule import Kind, Value

Style = Literal["tag", "fake"]
Find = Callable[[str, tuple[Kind, ...]], list[Value]]
KEY_BYTES = 32
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_TAGS: dict[Kind, str] = {
    "private key": "PRIVATE_KEY",
    "URL with password": "URL",
    "access key": "ACCESS_KEY",
    "password": "PASSWORD",
    "e-mail address": "EMAIL",
    "IBAN": "IBAN",
    "card number": "CARD",
    "passport": "PASSPORT",
    "national id": "NATIONAL_ID",
    "SSN": "SSN",
    "IP address": "IP",
    "MAC address": "MAC",
    "date of birth": "BIRTH_DATE",
    "phone number": "PHONE",
    "street address": "ADDRESS",
    "postal code": "POSTAL_CODE",
    "name": "NAME",
}


@dataclass(frozen=True, slots=True)
class Replaced:
    """One replacement: its kind, its span in the text before and its span in the text after."""

    kind: Kind
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Redacted:
    """The new text and what was replaced, in order."""

    text: str
    replaced: tuple[Replaced, ...] = ()


@dataclass(frozen=True, slots=True)
class Redactor:
    """Replaces personal data of `kinds`: the same value under the same key is the same pseudonym, in any text.

    key: 32 random bytes (`new_key`, `project_key`); it is in no message, repr or file of ours but its own.
    style: `tag` writes `[EMAIL_BCDFGHJKL]`; `fake` writes e-mail addresses, phone numbers, cards, SSNs, IP and MAC addresses
    of the same layout that belong to nobody, and tags for the other kinds.
    find: what looks for values (`thorough.Thorough` asks presidio as well).
    Raises UserError for a key of fewer than 32 bytes.
    """

    key: bytes = field(repr=False)
    style: Style = "tag"
    kinds: tuple[Kind, ...] = STRUCTURED
    find: Find = find_values

    def __post_init__(self) -> None:
        if len(self.key) < KEY_BYTES:
            raise UserError(f"a redaction key must have at least {KEY_BYTES} bytes", f"{len(self.key)} bytes")

    def __call__(self, text: str) -> Redacted:
        """The text with every value replaced; all other characters are as they were."""
        parts: list[str] = []
        replaced: list[Replaced] = []
        at = length = 0
        for value in self.find(text, self.kinds):
            new = self.pseudonym(value.kind, text[value.start : value.end])
            parts += [text[at : value.start], new]
            length += value.start - at
            replaced.append(Replaced(value.kind, (value.start, value.end), (length, length + len(new))))
            length += len(new)
            at = value.end
        return Redacted("".join([*parts, text[at:]]), tuple(replaced))

    def pseudonym(self, kind: Kind, value: str) -> str:
        """The pseudonym of one value; different spellings of the same value (case, spaces, dashes) have the same one."""
        message = f"{kind}\0{canonical(kind, value)}".encode("utf-8", "surrogatepass")
        digest = hmac.digest(self.key, message, "sha256")
        fake = _FAKES.get(kind) if self.style == "fake" else None
        return fake(value, digest) if fake else f"[{_TAGS[kind]}_{_code(digest)}]"


def canonical(kind: Kind, value: str) -> str:
    """The value without what does not tell it from another: case, separators, the plus of a telephone number."""
    text = fold(value).text
    if kind in ("private key", "access key", "password", "URL with password"):
        return text
    if kind in ("e-mail address", "name", "street address", "date of birth"):
        return " ".join(text.casefold().split())
    if kind == "IP address":
        from ipaddress import ip_address

        return str(ip_address(text))
    if kind == "phone number":
        return "".join(c for c in text if c.isdigit()).lstrip("0")
    return plain(text)


def new_key() -> bytes:
    """A fresh random key."""
    return secrets.token_bytes(KEY_BYTES)


def project_key(path: Path) -> bytes:
    """The key in a file, which is made (readable by its owner alone) when it is not there. Raises UserError for a wrong length."""
    if not path.exists():
        make_folder(path.parent)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.aside")
        with writing(aside, KEY_BYTES):
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as f:
                f.write(new_key())
                f.flush()
                os.fsync(fd)
        try:
            os.link(aside, path)  # the first of several processes wins, and all read the same key
        except FileExistsError:
            pass
        finally:
            aside.unlink()
        fsync_path(path.parent)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise UserError(
            f"a redaction key has {KEY_BYTES} bytes", f"{len(key)} bytes", str(path), "restore the file, or remove it for a new key"
        )
    return key


def _code(digest: bytes, length: int = 9) -> str:
    """Consonants, 20^9 = 5e11 of them: among 100,000 values two share one with probability 0.01."""
    number, letters = int.from_bytes(digest[:16], "big"), []
    for _ in range(length):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(letters)


def _digits(value: str, digest: bytes, first: str) -> str:
    """The layout of `value` with its digits replaced: `first`, then digits of the hash."""
    number = first + str(int.from_bytes(digest, "big"))
    count = sum(c.isdigit() for c in fold(value).text)
    new = iter(number[:count])
    return "".join(next(new) if c.isdigit() else c for c in value)


def _fake_ip(value: str, digest: bytes) -> str:
    if ":" in value:
        return "2001:db8:" + ":".join(f"{digest[i] << 8 | digest[i + 1] or 1:x}" for i in range(0, 12, 2))
    return f"24{digest[0] % 6}." + ".".join(str(b) for b in digest[1:4])


def _fake_mac(value: str, digest: bytes) -> str:
    new = iter("02" + digest[:5].hex())
    return "".join(next(new) if c.isalnum() else c for c in value)


# Nobody has these: RFC 2606 names, area 000 (never issued), 999 (no country code), cards that begin with 0, 240.0.0.0/4, RFC 3849.
_FAKES: dict[Kind, Callable[[str, bytes], str]] = {
    "e-mail address": lambda value, digest: f"{_code(digest).lower()}@example.com",
    "phone number": lambda value, digest: _digits(value, digest, "999"),
    "card number": lambda value, digest: _digits(value, digest, "0000"),
    "SSN": lambda value, digest: _digits(value, digest, "000"),
    "IP address": _fake_ip,
    "MAC address": _fake_mac,
}
