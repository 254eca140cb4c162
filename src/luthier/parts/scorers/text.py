"""How two texts are made comparable before they are matched.

One decision: punctuation is taken only from the ends of an answer, never from inside (`3.5` must not become `35`),
and a leading sign or currency stays.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Normal = Literal["none", "spaces", "case", "text"]
_ENDS = " \t\n\"'`“”‘’«».,;:!?*。、，；：！？"
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_WORD = re.compile(r"\w+(?:[.,]\d+)*", re.UNICODE)


def normalise(text: str, how: Normal = "text") -> str:
    """`none`: as it is; `spaces`: NFC, runs of white space become one space, ends stripped; `case`: also NFKC and case folded;
    `text`: also quotes and stops stripped from both ends. Each level matches all that the one before matches."""
    if how == "none":
        return text
    if how == "spaces":
        return " ".join(unicodedata.normalize("NFC", text).split())
    folded = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())
    return folded if how == "case" else folded.strip(_ENDS) or folded


def words(text: str) -> list[str]:
    """Case-folded words without punctuation and English articles, as SQuAD's F1 counts them; numbers stay whole."""
    return _WORD.findall(_ARTICLES.sub(" ", normalise(text, "case")))
