"""Typing mistakes: two letters changed round, one left out, one doubled, or the key beside it (QWERTY)."""

from __future__ import annotations

import random
from typing import ClassVar, Literal

from pydantic import Field

from luthier.parts.perturbations.contract import WORD, Perturbation

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SHORTEST = 4


class Typos(Perturbation):
    """One mistake in `share` of the words of four letters and more, in at least one; a word keeps its first letter."""

    version: ClassVar[int] = 1

    kind: Literal["typos"] = "typos"
    share: float = Field(default=0.1, gt=0, le=1, description="of the words of four letters and more")

    def changed(self, text: str, rng: random.Random, keep: frozenset[str]) -> str:
        """The text with mistakes."""
        words = [w for w in WORD.finditer(text) if len(w.group()) >= _SHORTEST and w.group().lower() not in keep]
        chosen = sorted(rng.sample(range(len(words)), max(1, round(self.share * len(words)))) if words else [])
        out, end = [], 0
        for word in (words[i] for i in chosen):
            out += [text[end : word.start()], _mistyped(word.group(), rng)]
            end = word.end()
        return "".join([*out, text[end:]])


def _mistyped(word: str, rng: random.Random) -> str:
    """The word with one mistake after its first letter; never the word itself."""
    places = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
    kinds = ["leave out", "double", *(["change round"] if places else [])]
    at = rng.randrange(1, len(word))
    beside = _beside(word[at])
    kind = rng.choice([*kinds, *(["beside"] if beside else [])])
    if kind == "change round":
        at = rng.choice(places)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == "beside":
        return word[:at] + rng.choice(beside) + word[at + 1 :]
    return word[:at] + ("" if kind == "leave out" else word[at] * 2) + word[at + 1 :]


def _beside(letter: str) -> str:
    """The keys beside a letter, in its own case; none for a letter that is on no key."""
    row = next((r for r in _ROWS if letter.lower() in r), "")
    at = row.find(letter.lower())
    found = row[max(0, at - 1) : at] + row[at + 1 : at + 2] if row else ""
    return found.upper() if letter.isupper() else found
