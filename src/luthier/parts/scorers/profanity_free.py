"""Profanity: has the answer no word of a list of rude ones? A list of words, and no judge of toxicity.

One decision: it is called what it is. glin-profanity's lists (24 languages) are looked up, with leet spelling; an insult in
polite words passes, and a quotation does not. A measure of toxicity needs a classifier, such as one that Luthier tuned.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from luthier.core.errors import MachineError, UserError, did_you_mean
from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer


class ProfanityFree(Scorer):
    """1 when no listed word is in the answer; the words that are stand in the row's details."""

    measure: ClassVar[Measure] = "binary"
    needs_reference: ClassVar[bool] = False

    kind: Literal["profanity_free"] = "profanity_free"
    languages: tuple[str, ...] = Field(default=("english",), min_length=1, description="glin-profanity's lists, in English words")
    leet: bool = Field(default=True, description="read `sh1t` as it is meant")

    def __call__(self, example: Example, output: str) -> Score:
        found = _filter(self.languages, self.leet).check_profanity(output)
        return Score(float(not found["contains_profanity"]), {"words": sorted(set(found["profane_words"]))})


@functools.lru_cache(maxsize=16)
def _filter(languages: tuple[str, ...], leet: bool) -> Any:
    try:
        from glin_profanity import Filter, Language
    except ImportError:
        raise MachineError("profanity_free needs glin-profanity: pip install 'luthier[data]'") from None
    known = get_args(Language)
    for language in languages:
        if language not in known:
            raise UserError(f"unknown list `{language}`", fix=did_you_mean(language, known), where="profanity_free.languages")
    return Filter({"languages": list(languages), "detect_leetspeak": leet})  # type: ignore[arg-type]
