"""Control characters taken out: NUL, backspace, terminal colours, halves of surrogate pairs.

One decision: what a program would have shown stays: a form feed becomes a line end, two halves that stand together become
their character, and a whole terminal sequence goes, so that no `[31m` is left behind.
Source: ECMA-48 section 5.4 (control sequences).
"""

from __future__ import annotations

import re
from typing import Literal

from luthier.parts.repairs.contract import Repair

_FOUND = re.compile(
    "\x1b\\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # a control sequence
    "|[\ud800-\udbff][\udc00-\udfff]"
    "|[\x0b\x0c]"
    "|[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]"
)


class ControlCharacters(Repair):
    """Tab, line feed, carriage return and the separators U+0085, U+2028, U+2029 are text and stay."""

    kind: Literal["control_characters"] = "control_characters"

    def __call__(self, text: str) -> str:
        return _FOUND.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    part = found.group()
    if part in "\x0b\x0c":
        return "\n"
    if len(part) == 2 and "\ud800" <= part[0] <= "\udbff":
        return part.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    return ""
