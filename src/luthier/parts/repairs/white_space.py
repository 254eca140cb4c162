"""White space in one form: line ends, odd spaces, the ends of lines, empty lines.

One decision: nothing inside a line moves and no indentation of two or more is touched, so code and tables stay as they
are; runs of spaces are joined only with `collapse`.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from luthier.parts.repairs.contract import Repair

_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029]")
_ODD_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
_INSIDE = re.compile(r"(?<=[^ \t\n])[ \t]{2,}(?=[^ \t\n])")


class WhiteSpace(Repair):
    """Line ends become LF, odd spaces become plain ones (the ideographic space stays), empty lines and the text's ends are cut back."""

    kind: Literal["white_space"] = "white_space"
    blank_lines: int = Field(default=1, ge=0, le=100, description="the most empty lines in a row")
    collapse: bool = Field(default=False, description="join runs of spaces inside a line; tables and aligned code suffer")

    def __call__(self, text: str) -> str:
        text = _ODD_SPACE.sub(" ", _LINE_END.sub("\n", text))
        text = "\n".join(line.rstrip(" \t") for line in text.split("\n")).strip("\n")
        most = "\n" * (self.blank_lines + 1)
        text = re.sub(f"{most}\n+", most, text)
        if self.collapse:
            text = _INSIDE.sub(" ", text)
        return text[1:] if text[:1] == " " and text[1:2] not in (" ", "\t") else text
