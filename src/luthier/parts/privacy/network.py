"""Addresses of machines and people on a network: e-mail, IP, MAC, URLs that carry a password.

One decision: an address is checked as a whole (`ipaddress`, octets, file endings), and four numbers after the
word version or section are a version or a section; loopback and unspecified addresses are nobody's.
Sources: RFC 5321 and 3986, RFC 4291, IEEE 802.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from luthier.parts.privacy.rule import Rule, Span, by_fit, by_pattern

_URL = re.compile(r"[a-zA-Z](?<!\w.)[a-zA-Z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,256}:[^\s/@\"'<>]{1,256}@[^\s\"'<>),;\]]{1,1000}")
_EMAIL = re.compile(r"[\w+%](?<![\w.%+-].)[\w.%+'-]{0,63}@(?:[^\W_](?:[^\W_]|-){0,62}\.){1,8}[^\W\d_](?:[^\W_]|-){0,22}[^\W\d_](?![\w@])")
_WRITTEN_OUT = re.compile(
    r"[\w+%](?<![\w.%+-].)[\w.%+-]{0,63} {0,2}[\[({] {0,2}(?:at|@) {0,2}[\])}] {0,2}"
    r"(?:[A-Za-z0-9-]{1,63}(?:\.| {0,2}[\[({] {0,2}(?:dot|\.) {0,2}[\])}] {0,2})){1,5}[A-Za-z]{2,24}\b",
    re.IGNORECASE,
)
_FILES = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "bmp",
        "ico",
        "css",
        "js",
        "ts",
        "html",
        "htm",
        "json",
        "xml",
        "yaml",
        "yml",
        "txt",
        "pdf",
        "mp4",
        "woff",
    ]
)
_IPV4 = re.compile(r"\d(?<![\w.]\d)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\w|-\d)", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:](?<![\w:.].)[0-9A-Fa-f:]{1,38}(?:\d{0,3}(?:\.\d{1,3}){3})?(?![\w:]|\.\d)", re.ASCII)
_MAC = re.compile(
    r"[0-9A-Fa-f]{2}(?<![\w:.-]..)(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})(?![\w-]|:\w)"
    r"|[0-9A-Fa-f]{4}(?<![\w:.-]....)(?:\.[0-9A-Fa-f]{4}){2}(?![\w-]|[.:]\w)",
    re.ASCII,
)
_NOT_AN_ADDRESS = re.compile(
    r"(?:\bv|\bver|version|release|build|firmware|driver|section|sect?\.|§|chapter|clause|paragraph|rule|article|oid|update|revision|rev"
    r"|patch|kernel|tag|python|node|java)[ :=#-]{0,3}(?:is |of |to |from )?v?$",
    re.IGNORECASE,
)
_BEFORE = 28


def ipv4(text: str) -> bool:
    """True for four numbers up to 255, no leading zeros, neither 0.x nor loopback nor all ones."""
    parts = text.split(".")
    return (
        all(int(p) < 256 and (p == "0" or not p.startswith("0")) for p in parts) and parts[0] not in ("0", "127") and set(parts) != {"255"}
    )


def ipv6(text: str) -> bool:
    """True for an address with at least three groups that is neither loopback nor unspecified."""
    if text.count(":") < 2 or sum(bool(group) for group in text.split(":")) < 3 or not any(c.isdigit() for c in text):
        return False
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _ipv4_at(text: str, start: int, end: int) -> Span | None:
    named = _NOT_AN_ADDRESS.search(text, max(0, start - _BEFORE), start)
    return None if named or not ipv4(text[start:end]) else (start, end)


def _ipv6_at(text: str, start: int, end: int) -> Span | None:
    while end > start and text[end - 1] == ":" and text[end - 2] != ":":
        end -= 1
    return (start, end) if ipv6(text[start:end]) else None


def mac(text: str) -> bool:
    """True for a hardware address that is neither all zeros nor broadcast; the dotted form must hold a letter."""
    number = "".join(c for c in text if c.isalnum()).upper()
    return len(set(number)) > 1 and ("." not in text or not number.isdigit())


def email(text: str) -> bool:
    """False for names of files at twice their size (`logo@2x.png`) and for dots that no mail system takes."""
    local, _, domain = text.rpartition("@")
    return domain.rsplit(".", 1)[-1].lower() not in _FILES and ".." not in local and not local.endswith(".")


def _url_at(text: str, start: int, end: int) -> Span | None:
    while text[end - 1] in ".!?:":
        end -= 1
    return start, end


URL_RULES = (Rule("URL with password", by_fit(_URL, _url_at), digits=False, marks=("://",)),)
EMAIL_RULES = (
    Rule("e-mail address", by_pattern(_EMAIL, email), digits=False, marks=("@",)),
    Rule(
        "e-mail address",
        by_pattern(_WRITTEN_OUT, bool),
        digits=False,
        marks=("at)", "at]", "at}", "@)", "@]", "at )", "at ]"),
    ),
)
MACHINE_RULES = (
    Rule("MAC address", by_pattern(_MAC, mac), marks=(":", "-", ".")),
    Rule("IP address", by_fit(_IPV6, _ipv6_at), marks=(":",)),
    Rule("IP address", by_fit(_IPV4, _ipv4_at), marks=(".",)),
)
