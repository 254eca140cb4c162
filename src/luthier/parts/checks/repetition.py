"""Text that says the same again and again: repeated lines, paragraphs and runs of words.

One decision: the shares and limits are those of Gopher, so that they can be looked up, and a text of few words is not
judged, because a short refrain is no fault.
Source: J. Rae et al., Gopher (2021), table A1, https://arxiv.org/abs/2112.11446
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from pydantic import Field

from luthier.parts.checks.contract import PASS, TextCheck, Verdict

_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
_MAX_JUDGED = 100_000


class Repetition(TextCheck):
    """Fails on a text whose repeated parts hold too great a share of it (the first 100,000 characters are judged)."""

    standing: ClassVar[bool] = False

    min_words: int = Field(default=50, ge=10, description="shorter texts pass")
    scale: float = Field(default=1.0, gt=0, le=5, description="multiplies every limit; 2 is twice as lenient")

    def __call__(self, text: str) -> Verdict:
        """The reason names the first share that is over its limit; the span is what was judged."""
        part = text[:_MAX_JUDGED]
        words = part.split()
        if len(words) < self.min_words:
            return PASS
        reason = self._of_blocks(part) or self._of_words(words)
        return Verdict(False, f"repetition: {reason}", ((0, len(part)),)) if reason else PASS

    def _of_blocks(self, text: str) -> str:
        """Lines and paragraphs: the share of them that are repeats, and the share of characters in repeats."""
        blocks = (("lines", text.split("\n"), 0.30, 0.20), ("paragraphs", text.split("\n\n"), 0.30, 0.20))
        for name, raw, of_number, of_characters in blocks:
            parts = [p.strip() for p in raw if p.strip()]
            repeats = _repeats(parts)
            if len(repeats) > self.scale * of_number * len(parts):
                return f"{100 * len(repeats) / len(parts):.0f} % of the {name} are repeats"
            share = sum(map(len, repeats)) / max(1, sum(map(len, parts)))
            if share > self.scale * of_characters:
                return f"{100 * share:.0f} % of the characters are in repeated {name}"
        return ""

    def _of_words(self, words: list[str]) -> str:
        """Runs of n words: the commonest one's share for n of 2 to 4, the share inside repeated ones for n of 5 to 10."""
        lengths = [len(w) for w in words]
        total = sum(lengths)
        for n, limit in _TOP.items():
            run, times = Counter(_runs(words, n)).most_common(1)[0]
            share = times * sum(map(len, run)) / total
            if times > 1 and share > self.scale * limit:
                return f"{100 * share:.0f} % of the text is {' '.join(run)!r:.80}"
        for n, limit in _REPEATED.items():
            covered = _covered(words, n)
            share = sum(size for size, inside in zip(lengths, covered, strict=True) if inside) / total
            if share > self.scale * limit:
                return f"{100 * share:.0f} % of the text is in runs of {n} words that were there before"
        return ""


def _repeats(parts: list[str]) -> list[str]:
    """Every part that was there before."""
    seen: set[str] = set()
    return [p for p in parts if p in seen or seen.add(p)]  # type: ignore[func-returns-value]


def _runs(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def _covered(words: list[str], n: int) -> list[bool]:
    """For each word whether it is inside a run of n words that stood earlier; no word counts twice."""
    seen: set[tuple[str, ...]] = set()
    covered = [False] * len(words)
    for i, run in enumerate(_runs(words, n)):
        if run in seen:
            covered[i : i + n] = [True] * n
        seen.add(run)
    return covered
