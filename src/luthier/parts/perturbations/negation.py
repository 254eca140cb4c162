"""Negation: the first auxiliary verb of an English text is negated, or its negation taken away.

One decision: the right answer may change with it, so no drop is counted: what is told is how often the answer changes. A model that
answers a text and its opposite alike does not read the `not`.
"""

from __future__ import annotations

import random
import re
from typing import ClassVar, Literal

from luthier.parts.perturbations.contract import Perturbation

_VERBS = "is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should|must"
_NEGATED = re.compile(rf"\b({_VERBS})(?:\s+not\b|n['’]t\b)|\b(can)not\b|\b(ca|wo)n['’]t\b", re.IGNORECASE)
_ASKED = re.compile(rf"\b({_VERBS})\s+(I|you|he|she|it|we|they|this|that|there)\b", re.IGNORECASE)
_SAID = re.compile(rf"\b({_VERBS})\b", re.IGNORECASE)
_WHOLE = {"ca": "can", "wo": "will"}


class Negation(Perturbation):
    """`is` becomes `is not`, `can I` `can I not`, and `is not` or `isn't` becomes `is`; once in a text. English."""

    keeps_answer: ClassVar[bool] = False
    language: ClassVar[str] = "English"

    kind: Literal["negation"] = "negation"

    def changed(self, text: str, rng: random.Random, keep: frozenset[str]) -> str:
        """The text with its meaning turned round."""
        if _NEGATED.search(text):
            return _NEGATED.sub(_plain, text, count=1)
        if _ASKED.search(text):
            return _ASKED.sub(r"\1 \2 not", text, count=1)
        return _SAID.sub(r"\1 not", text, count=1)


def _plain(found: re.Match[str]) -> str:
    """The verb without its negation, in its own case."""
    verb, cannot, short = found.groups()
    whole = verb or cannot or _WHOLE[short.lower()]
    return whole.capitalize() if found.group()[0].isupper() else whole
