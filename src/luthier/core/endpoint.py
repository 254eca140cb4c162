"""The address and the key of a server that rows are sent to: what both must hold before anything leaves this machine.

One decision: TLS everywhere but on this machine, nothing secret in an address, and a key comes from the environment alone.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from luthier.core.errors import UserError

_KEY = re.compile(r"[!-~]+")


def check_url(url: str, where: str, key_where: str) -> str:
    """The base address without a slash at its end. Raises UserError for one that rows and a key must not be sent to.

    where, key_where: the settings that hold the address and the name of the key's variable, for messages.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise UserError("a base address such as https://api.example.com/v1 is wanted", repr(url), where) from None
    if parts.scheme not in ("http", "https") or not host:
        raise UserError("a base address such as https://api.example.com/v1 is wanted", repr(url), where)
    if parts.username is not None or parts.password is not None:
        raise UserError("an address must not hold a user or a password", host, where, f"put the key in the environment ({key_where})")
    if parts.query or parts.fragment or re.search(r"\s", url):
        raise UserError("an address must end with its path", repr(url), where)
    if parts.scheme == "http" and not is_this_machine(host):
        fix = "use https, or reach it through a tunnel (ssh -L) at http://127.0.0.1"
        raise UserError("plain http is for this machine only: the rows and the key would cross the network readable", host, where, fix)
    return url.rstrip("/")


def is_this_machine(host: str) -> bool:
    """True for localhost and loopback addresses; a name is never looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_key(name: str, url: str, where: str) -> str:
    """The API key from the environment variable `name`; "" only for a server on this machine. Raises UserError."""
    key = os.environ.get(name, "").strip()
    if not key and not is_this_machine(urlsplit(url).hostname or ""):
        raise UserError("an API key must be in the environment", f"no {name}", where, f"export {name}=..., or name another variable")
    if key and not _KEY.fullmatch(key):
        raise UserError("an API key is one line of printable ASCII", f"something else in {name}", where)
    return key
