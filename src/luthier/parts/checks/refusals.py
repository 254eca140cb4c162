"""Answers that refuse, or speak of being a language model.

One decision: only the beginning of an answer is looked at, where a refusal stands; the same words inside a longer answer
are a quotation or a caution. Whether refusals are wanted is the user's business.
"""

from __future__ import annotations

import re
from typing import ClassVar

from luthier.core.records import Record
from luthier.parts.checks.contract import PASS, RecordCheck, Verdict, answers_of

_CANNOT = r"(?:can(?:no|')?t|can ?not|am not able to|'m not able to|am unable to|'m unable to|won't|will not|must decline to)"
_DO = (
    r"(?:assist|help|comply|answer|provide|fulfil|do that|continue|engage|create|generate|write|discuss|support|process|respond|give|offer"
    r"|complete)"
)
_REFUSAL = re.compile(
    rf"(?:(?:i'?m|i am|we'?re|we are) (?:very |so |really |truly )?sorry[,.]? (?:but )?(?:i|we|as an? )"
    rf"|(?:sorry|unfortunately|i apologi[sz]e)[,.]? (?:but )?(?:i|we) ?{_CANNOT}"
    rf"|i ?{_CANNOT} (?:\w+ ){{0,3}}?{_DO}"
    rf"|(?:as|being|i am|i'm) (?:just |only )?an? (?:ai|artificial intelligence|(?:large |ai )?language model|chatbot|virtual assistant)\b"
    rf"|i (?:do not|don't) have (?:access to|personal|the ability to|feelings|opinions))"
)
_LOOKED_AT = 300


class Refusals(RecordCheck):
    """Fails when an answer begins with a refusal in English (rows with a label are not judged)."""

    standing: ClassVar[bool] = False

    def __call__(self, record: Record) -> Verdict:
        """The reason shows the words."""
        for answer in answers_of(record):
            if refusal_in(answer):
                return Verdict(False, f"refusal: {answer.strip()[:60]!r}")
        return PASS


def refusal_in(answer: str) -> str | None:
    """The words, in lower case, with which an answer begins to refuse; None when it does not."""
    found = _REFUSAL.match(answer[:_LOOKED_AT].lstrip(" \n\t\"'*").replace("’", "'").lower())
    return found.group() if found else None
