"""Credentials by the name of an environment variable: `${NAME}` in an address is filled when it is used, and nowhere else.

One decision: what is written down (the project, the record of a fetch, a message) has the name; a value that is found in the words
of another library is replaced by its name before anybody sees it.
"""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, urlsplit

from luthier.core.errors import UserError

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"(?i)(secret|token|passw|credential|signature|api.?key|access.?key|^key$|^sig$|^pwd$)")
_FIX = "write it as ${NAME} and set NAME in the environment"


def filled(text: str) -> str:
    """`text` with each `${NAME}` replaced from the environment. Raises UserError naming the variable that is not set."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match.group(1))
        if found is None:
            raise UserError(f"the environment must have {match.group(1)}", "nothing", text, f"set it: export {match.group(1)}=...")
        return found

    return _NAME.sub(value, text)


def scrubbed(words: str, *texts: str) -> str:
    """`words` of another library on one line, with the value of every `${NAME}` of `texts` replaced by that name."""
    for name in (n for text in texts for n in _NAME.findall(text)):
        value = os.environ.get(name, "")
        words = words.replace(value, "${" + name + "}") if len(value) > 2 else words
    return " ".join(words.split())[:300]


def refuse_literal_secrets(address: str) -> None:
    """Raise ValueError for a password or signature that stands in an address itself."""
    parts = urlsplit(_NAME.sub("named", address))
    raw = re.search(r"//[^/@]*:([^/@]*)@", address)
    if parts.password and raw and not _NAME.fullmatch(raw.group(1)):
        raise ValueError(f"a password must not stand in the project file: {_FIX}")
    for name, value in parse_qsl(urlsplit(address).query):
        refuse_literal_option(name, value)


def refuse_literal_option(name: str, value: object) -> None:
    """Raise ValueError for an option that is named like a secret and holds anything but `${NAME}`."""
    if _SECRET.search(name) and isinstance(value, str) and value and not _NAME.fullmatch(value):
        raise ValueError(f"`{name}` must not stand in the project file: {_FIX}")
