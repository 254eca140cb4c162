"""End-of-text and end-of-turn tokens typed at the end of a text, as exports of other tools' training files leave them.

One decision: only a text's very end is mended, where the renderer writes the real token anyway; such a token in the middle of a
text may be what the text is about, and the check `control_tokens` reports it. A text that is nothing else stays.
"""

from __future__ import annotations

import re
from typing import Literal

from luthier.parts.repairs.contract import Repair

_LONGEST = 20
_TOKEN = re.compile(r"(?:<\|(?:endoftext|end_of_text|im_end|eot_id|eom_id|end|return)\|>|</s>|<eos>|<end_of_turn>)\Z")


class EndOfText(Repair):
    """Takes `<|endoftext|>`, `<|im_end|>`, `</s>` and their like off the end, with the white space around them."""

    kind: Literal["end_of_text"] = "end_of_text"

    def __call__(self, text: str) -> str:
        end = whole = _seen(text, len(text))
        while found := _TOKEN.search(text, max(0, end - _LONGEST), end):
            end = _seen(text, found.start())
        return text[:end] if 0 < end < whole else text


def _seen(text: str, end: int) -> int:
    """Where the text before `end` stops, white space at its end left out."""
    while end and text[end - 1].isspace():
        end -= 1
    return end
