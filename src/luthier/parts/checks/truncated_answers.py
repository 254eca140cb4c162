"""Answers that were cut off: they end inside a sentence, a list, a code block or a document.

One decision: a missing full stop alone proves nothing; what counts is an end that no writer chooses, and in a long answer
of prose a last line that ends in the middle of a sentence.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from luthier.core.records import Record
from luthier.parts.checks.contract import PASS, RecordCheck, Verdict, answers_of

_OPEN_WORD = re.compile(
    r"(?:\b(?:and|or|but|the|a|an|of|to|in|with|for|by|from|as|at|is|are|was|were|that|which|because|such as)|[,;(\[{–])$"
)
_FENCE = re.compile(r"^\s{0,3}(?:```|~~~)", re.MULTILINE)
_PROSE = re.compile(r"[a-z][.!?]['\")\]]?\s+[A-Z]")


class TruncatedAnswers(RecordCheck):
    """Fails when an answer was cut off (rows with a label are not judged)."""

    standing: ClassVar[bool] = False

    min_characters: int = Field(default=200, ge=1, description="a longer answer of prose must end like a sentence")

    def __call__(self, record: Record) -> Verdict:
        """The reason shows the end."""
        for answer in answers_of(record):
            said = answer.rstrip()
            why = self._fault(said)
            if why:
                return Verdict(False, f"truncated answer ({why}): …{said[-40:]!r}")
        return PASS

    def _fault(self, said: str) -> str:
        if len(_FENCE.findall(said)) % 2:
            return "a code block is open"
        last = said.rpartition("\n")[2]
        if " " in said and _OPEN_WORD.search(last):
            return "it ends in the middle of a sentence"
        words = last.split()
        plain = len(words) >= 5 and last[-1:].isalpha() and last[-1:].islower() and not last.lstrip().startswith(("-", "*", "•", "|", "#"))
        if len(said) >= self.min_characters and plain and _PROSE.search(said):
            return "its last line has no end"
        return ""
