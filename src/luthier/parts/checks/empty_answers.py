"""Answers without anything in them: only punctuation, or a word that stands for nothing.

One decision: a number or a symbol of mathematics is an answer; an answer of no characters at all is set aside when the file
is read and does not come this far.
"""

from __future__ import annotations

import re
import unicodedata
from typing import ClassVar

from luthier.core.records import Record
from luthier.parts.checks.contract import PASS, RecordCheck, Verdict, answers_of

_NOTHING = re.compile(r"(?:n/?a|none|null|nil|nan|undefined|noinput|no input|no output|tbd|empty|<noinput>|<no output>)\.?")


class EmptyAnswers(RecordCheck):
    """Fails when an answer says nothing (rows with a label are not judged)."""

    standing: ClassVar[bool] = False

    def __call__(self, record: Record) -> Verdict:
        """The reason shows the answer."""
        for answer in answers_of(record):
            said = answer.strip()
            if _NOTHING.fullmatch(said.lower()) or not any(unicodedata.category(c)[0] in "LNS" for c in said):
                return Verdict(False, f"empty answer: {said[:40]!r}")
        return PASS
