"""Profane words, also in disguise (leetspeak, separators, full-width letters).

One decision: glin-profanity's word lists judge, and the words are never shown: the reason counts them. A list knows words and
not what is meant, so it is used where a cleaning names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

from pydantic import Field

from luthier.core.errors import MachineError, UserError, did_you_mean
from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict

_PIECE = 500


class Profanity(TextCheck):
    """Fails on profane words of the given languages. Raises MachineError where glin-profanity is not installed.

    A long text is judged in pieces of 500 characters, cut at white space where there is any, so time grows with the text.
    """

    standing: ClassVar[bool] = False
    languages: tuple[str, ...] = Field(default=("english",), min_length=1, description="names of glin-profanity's word lists")
    leet: bool = Field(default=True, description="also letters written as digits and signs")

    def __call__(self, text: str) -> Verdict:
        """The reason says how many; the spans say where each stands (the whole piece, where a disguise hides the place)."""
        judge, count, spans = _filter(self.languages, self.leet), 0, []
        for start, end in pieces(text, _PIECE):
            words = judge.check_profanity(text[start:end])["profane_words"]
            count += len(words)
            if words:
                spans += _places(text[start:end], words, start) or [(start, end)]
        if not count:
            return PASS
        return Verdict(False, f"profane words (not shown): {count}", tuple(spans[:MAX_SPANS]))


@cache
def _filter(languages: tuple[str, ...], leet: bool) -> Any:
    try:
        from glin_profanity import Filter
        from glin_profanity.data.dictionary import dictionary
    except ImportError:
        raise MachineError("checking text for profanity needs glin-profanity: pip install 'luthier[data]'") from None
    known = tuple(dictionary.LANGUAGE_FILES)
    wrong = next((language for language in languages if language not in known), None)
    if wrong is not None:
        raise UserError("languages must be word lists of glin-profanity", repr(wrong), "languages", did_you_mean(wrong, known))
    return Filter({"languages": list(languages), "detect_leetspeak": leet})  # type: ignore[typeddict-item]


def pieces(text: str, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of pieces of at most `size` characters, cut at white space where there is any."""
    start = 0
    while start < len(text):
        end = min(len(text), start + size)
        if end < len(text):
            cut = max(text.rfind(c, start + 1, end) for c in " \n\t")
            end = cut if cut > start else end
        yield start, end
        start = end


def _places(piece: str, words: list[str], offset: int) -> list[tuple[int, int]]:
    lower = piece.lower()
    if len(lower) != len(piece):
        return []
    return sorted({(offset + at, offset + at + len(word)) for word in words if word and (at := lower.find(word.lower())) >= 0})
