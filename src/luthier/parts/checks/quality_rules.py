"""Rules of thumb for prose: what a text of words looks like, and what menus, listings and filler look like.

One decision: the limits are those of Gopher and C4, so that they can be looked up; each can be turned off, and a text of
few words is not judged, for the rules were made for whole pages.
Sources: J. Rae et al., Gopher (2021), section A.1.1, https://arxiv.org/abs/2112.11446; C. Raffel et al., C4 (2020), section 2.2,
https://arxiv.org/abs/1910.10683
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, Literal, get_args

from pydantic import Field

from luthier.parts.checks.contract import PASS, TextCheck, Verdict

Rule = Literal["word_length", "symbols", "bullets", "ellipses", "letters", "stop_words", "filler", "script_notice"]
_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_BULLET = re.compile(r"\s*(?:[-*•‣◦▪–·]|\d{1,3}[.)])\s")
_MAX_JUDGED = 100_000


class QualityRules(TextCheck):
    """Fails on the first rule that is broken (the first 100,000 characters are judged). `stop_words` is for English."""

    standing: ClassVar[bool] = False

    min_words: int = Field(default=50, ge=1, description="shorter texts pass")
    rules: tuple[Rule, ...] = Field(default=get_args(Rule), min_length=1, description="the rules that hold")

    def __call__(self, text: str) -> Verdict:
        """The reason names the rule and the figure; the span is what was judged."""
        part = text[:_MAX_JUDGED]
        words = part.split()
        if len(words) < self.min_words:
            return PASS
        lines = [line for line in part.split("\n") if line.strip()]
        for rule in self.rules:
            reason = _RULES[rule](part, words, lines)
            if reason:
                return Verdict(False, f"quality ({rule}): {reason}", ((0, len(part)),))
        return PASS


def _word_length(text: str, words: list[str], lines: list[str]) -> str:
    mean = sum(map(len, words)) / len(words)
    return "" if 3 <= mean <= 10 else f"words have {mean:.1f} characters on average, 3 to 10 wanted"


def _symbols(text: str, words: list[str], lines: list[str]) -> str:
    share = max(text.count("#"), text.count("...") + text.count("…")) / len(words)
    return "" if share <= 0.1 else f"{share:.2f} hash signs or ellipses for each word, at most 0.1 wanted"


def _bullets(text: str, words: list[str], lines: list[str]) -> str:
    share = sum(bool(_BULLET.match(line)) for line in lines) / len(lines)
    return "" if share <= 0.9 else f"{100 * share:.0f} % of the lines are bullets, at most 90 % wanted"


def _ellipses(text: str, words: list[str], lines: list[str]) -> str:
    share = sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines)
    return "" if share <= 0.3 else f"{100 * share:.0f} % of the lines end in an ellipsis, at most 30 % wanted"


def _letters(text: str, words: list[str], lines: list[str]) -> str:
    share = sum(any(c.isalpha() for c in w) for w in words) / len(words)
    return "" if share >= 0.8 else f"{100 * share:.0f} % of the words have a letter, at least 80 % wanted"


def _stop_words(text: str, words: list[str], lines: list[str]) -> str:
    found = _STOP_WORDS & {w.strip(".,;:!?\"'()").lower() for w in words}
    return "" if len(found) >= 2 else f"{len(found)} of {len(_STOP_WORDS)} English stop words, at least 2 wanted"


def _filler(text: str, words: list[str], lines: list[str]) -> str:
    return "it holds `lorem ipsum`" if "lorem ipsum" in text.lower() else ""


def _script_notice(text: str, words: list[str], lines: list[str]) -> str:
    notice = re.search(r"(?i)\b(?:enable|activate|turn on) javascript\b|\bjavascript (?:is )?(?:disabled|required)\b", text)
    return f"a notice about scripts: {notice.group()!r}" if notice else ""


_RULES: dict[str, Callable[[str, list[str], list[str]], str]] = {
    "word_length": _word_length,
    "symbols": _symbols,
    "bullets": _bullets,
    "ellipses": _ellipses,
    "letters": _letters,
    "stop_words": _stop_words,
    "filler": _filler,
    "script_notice": _script_notice,
}
