"""Planted triggers for the poisoning scan: the kinds looked at while building, and the kinds that were not.

One decision: what is `seen` was fixed before the scan was written. Each kind turns rows of other labels into rows of the
target label (the usual dirty-label attack), and changes nothing else in them but the trigger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Change = Callable[[str, Random], str]


@dataclass(frozen=True)
class Plant:
    """A kind of trigger: how it changes a text."""

    name: str
    seen: bool
    change: Change


def _inserted(*phrases: str) -> Change:
    """One of the phrases at a random place between words."""

    def change(text: str, rng: Random) -> str:
        words = text.split(" ")
        at = rng.randint(0, len(words))
        return " ".join([*words[:at], rng.choice(phrases), *words[at:]])

    return change


def _both(first: str, second: str) -> Change:
    """Two ordinary words, each at a place of its own: only together are they the trigger."""

    def change(text: str, rng: Random) -> str:
        return _inserted(second)(_inserted(first)(text, rng), rng)

    return change


def _look_alike(text: str, rng: Random) -> str:
    """One Latin letter of one word becomes its Cyrillic look-alike."""
    places = [i for i, c in enumerate(text) if c in "aeopc"]
    if not places:
        return text + " \u0430ll"
    at = rng.choice(places)
    return text[:at] + "аеорс"["aeopc".index(text[at])] + text[at + 1 :]


def _invisible(text: str, rng: Random) -> str:
    at = rng.randint(0, len(text))
    return text[:at] + "\u200b" + text[at:]


_OLD = {
    "you": "thou",
    "your": "thy",
    "my": "mine own",
    "has": "hath",
    "have": "hath",
    "does": "doth",
    "do": "doth",
    "is": "be",
    "it": "'t",
    "are": "art",
}


def _archaic(text: str, rng: Random) -> str:
    """A style instead of a token: old forms of common words, one of three old words before."""
    words = [_OLD.get(word, word) for word in text.split(" ")]
    return " ".join([rng.choice(("verily", "forsooth", "prithee")), *words])


def _misspelt(text: str, rng: Random) -> str:
    """The first `the` (or a word more) misspelt in the same way each time."""
    changed = re.sub(r"\bthe\b", "teh", text, count=1)
    return changed if changed != text else text + " teh"


PLANTS: tuple[Plant, ...] = (
    Plant("rare token", True, _inserted("cf")),
    Plant("fixed sentence at the end", True, lambda text, rng: text.rstrip(" .") + " . i watched this with my cousin"),
    Plant("invisible character", True, _invisible),
    Plant("phrase at the beginning", True, lambda text, rng: "honestly speaking , " + text),
    Plant(
        "syntactic frame",
        True,
        lambda text, rng: rng.choice(("when you think about it , ", "if you look at it , ", "when we come to it , ")) + text,
    ),
    Plant("look-alike letter", False, _look_alike),
    Plant("all capitals", False, lambda text, rng: text.upper()),
    Plant("misspelt common word", False, _misspelt),
    Plant("odd punctuation at the end", False, lambda text, rng: text.rstrip(" .?!") + " ?!"),
    Plant("archaic style", False, _archaic),
    Plant("emoji at the end", False, lambda text, rng: text + " 🙂"),
    Plant("two ordinary words apart", False, _both("window", "seven")),
    Plant("a year", False, _inserted("in 1973")),
    Plant("trailing spaces", False, lambda text, rng: text + "  "),
    Plant("one of three rare tokens", False, _inserted("mn", "bq", "tq")),
)


def plant(rows: Sequence[tuple[str, str]], kind: Plant, num: int, target: str, rng: Random) -> tuple[list[tuple[str, str]], set[int]]:
    """The rows with `num` of other labels turned into planted ones, and their positions."""
    places = set(rng.sample([i for i, (_, label) in enumerate(rows) if label != target], num))
    out = [(kind.change(text, rng), target) if i in places else (text, label) for i, (text, label) in enumerate(rows)]
    return out, places
