"""Rewording: common English phrases replaced by others of the same meaning, from a closed list; no model paraphrases.

One decision: a phrase is in the list only when the other one may stand for it in any sentence, which is why the list is short and
words of the subject are not in it. A row in which no phrase stands is left out, and how many were is told.
"""

from __future__ import annotations

import random
import re
from typing import ClassVar, Literal

from luthier.parts.perturbations.contract import Perturbation, words_of

EITHER_WAY = (
    ("I am", "I'm"), ("I have", "I've"), ("I will", "I'll"), ("do not", "don't"), ("does not", "doesn't"), ("did not", "didn't"),
    ("is not", "isn't"), ("are not", "aren't"), ("was not", "wasn't"), ("has not", "hasn't"), ("have not", "haven't"),
    ("cannot", "can't"), ("could not", "couldn't"), ("will not", "won't"), ("would not", "wouldn't"), ("should not", "shouldn't"),
    ("how do I", "how can I"), ("I want to", "I would like to"), ("I need to", "I have to"), ("for example", "for instance"),
    ("is there a way to", "is it possible to"), ("can you", "could you"), ("in spite of", "despite"), ("tell me", "let me know"),
)  # fmt: skip
"""Phrases of the same meaning; each stands for the other."""
ONE_WAY = (
    ("it is", "it's"), ("that is", "that's"), ("what is", "what's"), ("please", "kindly"), ("in order to", "so as to"),
    ("because", "since"), ("a lot of", "plenty of"), ("at the moment", "right now"), ("as soon as possible", "at once"),
    ("instead of", "rather than"), ("is able to", "can"), ("however", "but"),
)  # fmt: skip
"""The second may stand for the first, and not always the first for the second (`since yesterday`)."""


class Rewording(Perturbation):
    """Every phrase of the list becomes the other one of its pair; a capital at its beginning stays. English."""

    language: ClassVar[str] = "English"

    kind: Literal["rewording"] = "rewording"

    def changed(self, text: str, rng: random.Random, keep: frozenset[str]) -> str:
        """The text in other words."""
        other = {a.lower(): b for pair in EITHER_WAY for a, b in (pair, pair[::-1])} | {a.lower(): b for a, b in ONE_WAY}
        phrases = "|".join(re.escape(p) for p in sorted(other, key=len, reverse=True))
        pattern = re.compile(rf"(?<![\w'’])(?:{phrases})(?![\w'’])", re.IGNORECASE)

        def turned(found: re.Match[str]) -> str:
            phrase = found.group()
            new = phrase if words_of(phrase) & keep else other[phrase.lower()]
            return new[0].upper() + new[1:] if phrase[0].isupper() else new

        return pattern.sub(turned, text.replace("’", "'") if "’" in text else text)
