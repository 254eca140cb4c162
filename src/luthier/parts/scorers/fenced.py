"""Code out of an answer: the first fenced block where there is one, the whole text otherwise."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"^```[^\n`]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def code_of(answer: str) -> str:
    """The code without its fence; a block that never ends (an answer that was cut) reaches to the end of the text."""
    found = _BLOCK.search(answer if answer.endswith("\n") else answer + "\n")
    if found:
        return found.group(1)
    opened = re.search(r"^```[^\n`]*\n", answer, re.MULTILINE)
    return answer[opened.end() :] if opened else answer
