"""Characters that nobody sees: zero-width spaces, soft hyphens, direction overrides, hidden tag letters.

One decision: a character goes only where it cannot be part of writing: joiners stay inside scripts and emoji that need
them, direction marks stay in a text with right-to-left letters, the tags of a flag stay. Overrides go everywhere.
Source: N. Boucher and R. Anderson, Trojan Source (2021), https://arxiv.org/abs/2111.00169; Unicode Technical Standard 51 (flags).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from luthier.parts.repairs.contract import Repair

_ALWAYS = re.compile("[\u00ad\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\u202a-\u202e]")
_FLAG_OR_TAG = re.compile("(\U0001f3f4[\U000e0020-\U000e007e]{1,16}\U000e007f)|[\U000e0000-\U000e007f]")
_MARK = re.compile("[\u061c\u200e\u200f\u2066-\u2069]")
_JOINER = re.compile("([^\u200c\u200d])?([\u200c\u200d]+)")
_JOINING = ((0x0590, 0x1CFF), (0xA800, 0xABFF), (0xFB1D, 0xFDFF), (0xFE0F, 0xFE0F), (0xFE70, 0xFEFC), (0x10A00, 0x11FFF))
_EMOJI = ((0x2190, 0x2BFF), (0x1F000, 0x1FAFF), (0xE0020, 0xE007F))


class Invisible(Repair):
    """Takes out what is not seen and not needed; visible characters are never touched."""

    kind: Literal["invisible"] = "invisible"

    def __call__(self, text: str) -> str:
        if text.isascii():
            return text
        text = _FLAG_OR_TAG.sub(lambda m: m.group(1) or "", _ALWAYS.sub("", text))
        if _MARK.search(text) and not any(unicodedata.bidirectional(c) in ("R", "AL") for c in text):
            text = _MARK.sub("", text)
        return _JOINER.sub(_joined, text)


def _joined(found: re.Match[str]) -> str:
    """The joiners after a character that joins; nothing else of them."""
    left, joiners = found.group(1) or "", found.group(2)
    return left + joiners if left and any(low <= ord(left) <= high for low, high in _JOINING + _EMOJI) else left
