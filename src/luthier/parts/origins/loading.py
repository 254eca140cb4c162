"""The field type of an origin: any part of this folder, by `kind`, or written in short.

One decision: the folder and the installed entry points are the registry; the short forms (an address, an archive's name, `sql:` as
a key) are turned into the one long form here, so that everything behind knows that form alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Union
from urllib.parse import parse_qsl

from pydantic import Field

from luthier.core.discovery import discover, load_part
from luthier.core.errors import UserError
from luthier.parts.origins.contract import Origin

PACKAGE = "luthier.parts.origins"
ARCHIVES = re.compile(r"(?i)\.(zip|tar|tgz|tar\.(gz|zst))$")
_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")


def known_origins() -> dict[str, type[Origin]]:
    """Every origin by kind: built in and installed."""
    return discover(PACKAGE, Origin)


def long_form(entry: Any) -> Any:
    """An entry of a list of files with what is written in short as `source: {kind: ...}`; any other value as it is."""
    entry = {"path": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or "source" in entry:
        return entry
    path = entry.get("path")
    if isinstance(path, str) and (_ADDRESS.match(path) or ARCHIVES.search(path)):
        rest = {k: v for k, v in entry.items() if k != "path"}
        return {**rest, "source": {"kind": "url", "url": path} if _ADDRESS.match(path) else {"kind": "archive", "path": path}}
    kind = next((k for k in known_origins() if k in entry), None)
    if kind is None:
        return entry
    value = entry[kind]
    fields = {known_origins()[kind].main: value} if isinstance(value, str) else value
    return {**{k: v for k, v in entry.items() if k != kind}, "source": {"kind": kind, **fields} if isinstance(fields, dict) else fields}


def origin_of(text: str, query: str | None = None) -> Origin | None:
    """The origin that a person named on a command line, None for a path. Raises UserError.

    An address, `hub://org/name?split=train&config=...&revision=...`, or the address of a database with a `query`.
    """
    match = _ADDRESS.match(text)
    scheme = match.group(1).lower().partition("+")[0] if match else ""
    if query is not None or scheme in DATABASES:
        if query is None or scheme not in DATABASES:
            must = "a query goes with the address of a database"
            raise UserError(must, text if query is not None else "no query", fix="sqlite:///shop.db --query 'SELECT ...'")
        return load_part(PACKAGE, Origin, {"kind": "sql", "url": text, "query": query})
    if scheme == "hub":
        name, _, rest = text.partition("://")[2].partition("?")
        return load_part(PACKAGE, Origin, {"kind": "hub", "name": name, **dict(parse_qsl(rest))})
    return load_part(PACKAGE, Origin, {"kind": "url", "url": text}) if match else None


def _item() -> Any:
    return Annotated[Union[tuple(known_origins().values())], Field(discriminator="kind")]  # noqa: UP007 - made from a tuple


if TYPE_CHECKING:
    OriginConfig = Origin
else:
    OriginConfig = _item()
