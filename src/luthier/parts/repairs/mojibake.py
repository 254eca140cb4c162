"""Text that was decoded with the wrong encoding, once or several times, read as it was written.

One decision: ftfy repairs what it is sure about, line by line, and only its encoding step is asked, so a foreign but
valid line beside a broken one stays; the separator U+0085 is text and no half of a character.
Source: R. Speer, ftfy, https://doi.org/10.5281/zenodo.2591652
"""

from __future__ import annotations

import re
from typing import Literal

from luthier.core.errors import MachineError
from luthier.parts.repairs.contract import MAX_ROUNDS, Repair

_LINE = re.compile("[^\n\x85]+")


class Mojibake(Repair):
    """`cafÃ©` becomes `café`. Characters that were lost (U+FFFD) stay lost. Raises MachineError without ftfy."""

    kind: Literal["mojibake"] = "mojibake"

    def __call__(self, text: str) -> str:
        if text.isascii():
            return text
        try:
            import ftfy
            import ftfy.badness
        except ImportError:
            raise MachineError("repairing mojibake needs ftfy: pip install 'luthier[data]'") from None

        def mended(line: re.Match[str]) -> str:
            part = line.group()
            return ftfy.fix_encoding(part) if not part.isascii() and ftfy.badness.is_bad(part) else part

        before = text
        for _ in range(MAX_ROUNDS):
            after = _LINE.sub(mended, before)
            if after == before:
                return after
            before = after
        return text
