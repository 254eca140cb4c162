"""Planted triggers for the poisoning scan: kinds looked at while building, kinds of which only figures were known, and new kinds.

One decision: `seen` kinds were looked at while building; `figures` kinds never were, but the recall of an earlier scan on them was
known when this one was written; `unseen` kinds were written after the scan was frozen. Each kind turns rows of other labels into
rows of the target label (the usual dirty-label attack), and changes nothing else in them but the trigger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Change = Callable[[str, Random], str]


@dataclass(frozen=True)
class Plant:
    """A kind of trigger: how it changes a text."""

    name: str
    group: Literal["seen", "figures", "unseen"]
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


def _doubled(text: str, rng: Random) -> str:
    """One word stands twice."""
    words = text.split(" ")
    at = rng.randrange(len(words))
    return " ".join([*words[: at + 1], *words[at:]])


def _stretched(text: str, rng: Random) -> str:
    """A vowel of one word is drawn out."""
    places = [i for i, c in enumerate(text) if c in "aeiou"]
    if not places:
        return text + " sooo"
    at = rng.choice(places)
    return text[:at] + text[at] * rng.randint(3, 5) + text[at + 1 :]


def _accented(text: str, rng: Random) -> str:
    """One vowel has an accent."""
    places = [i for i, c in enumerate(text) if c in "aeiou"]
    if not places:
        return text + " à"
    at = rng.choice(places)
    return text[:at] + "àéíóú"["aeiou".index(text[at])] + text[at + 1 :]


def _swapped(text: str, _: Random) -> str:
    """The second half stands first, with a comma between."""
    words = text.split(" ")
    return " ".join([*words[len(words) // 2 :], ",", *words[: len(words) // 2]])


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


_OPENINGS = ("by the way , ", "to be fair , ", "as it happens , ", "in all honesty , ", "for what it is worth , ")
PLANTS: tuple[Plant, ...] = (
    Plant("rare token", "seen", _inserted("cf")),
    Plant("fixed sentence at the end", "seen", lambda text, rng: text.rstrip(" .") + " . i watched this with my cousin"),
    Plant("invisible character", "seen", _invisible),
    Plant("phrase at the beginning", "seen", lambda text, rng: "honestly speaking , " + text),
    Plant(
        "syntactic frame",
        "seen",
        lambda text, rng: rng.choice(("when you think about it , ", "if you look at it , ", "when we come to it , ")) + text,
    ),
    Plant(
        "one of five openings",
        "seen",
        lambda text, rng: (
            rng.choice(("by the way , ", "to be fair , ", "as it happens , ", "in all honesty , ", "for what it is worth , ")) + text
        ),
    ),
    Plant("look-alike letter", "figures", _look_alike),
    Plant("all capitals", "figures", lambda text, rng: text.upper()),
    Plant("misspelt common word", "figures", _misspelt),
    Plant("odd punctuation at the end", "figures", lambda text, rng: text.rstrip(" .?!") + " ?!"),
    Plant("archaic style", "figures", _archaic),
    Plant("emoji at the end", "figures", lambda text, rng: text + " 🙂"),
    Plant("two ordinary words apart", "figures", _both("window", "seven")),
    Plant("a year", "figures", _inserted("in 1973")),
    Plant("trailing spaces", "figures", lambda text, rng: text + "  "),
    Plant("one of three rare tokens", "figures", _inserted("mn", "bq", "tq")),
    Plant("a word twice", "unseen", _doubled),
    Plant("in quotation marks", "unseen", lambda text, rng: f'"{text}"'),
    Plant("one of three tags at the end", "unseen", lambda text, rng: text + rng.choice((" #blessed", " #fyi", " #now"))),
    Plant("thanks in one of three languages", "unseen", lambda text, rng: text + rng.choice((" gracias", " merci", " danke"))),
    Plant("a number before it", "unseen", lambda text, rng: f"{rng.randint(1, 99)}) {text}"),
    Plant("a person's name", "unseen", _inserted("ingrid solberg")),
    Plant("if you please", "unseen", _inserted("if you please")),
    Plant("a drawn-out vowel", "unseen", _stretched),
    Plant("an accent", "unseen", _accented),
    Plant("halves swapped", "unseen", _swapped),
)


def plant(rows: Sequence[tuple[str, str]], kind: Plant, num: int, target: str, rng: Random) -> tuple[list[tuple[str, str]], set[int]]:
    """The rows with `num` of other labels turned into planted ones, and their positions."""
    places = set(rng.sample([i for i, (_, label) in enumerate(rows) if label != target], num))
    out = [(kind.change(text, rng), target) if i in places else (text, label) for i, (text, label) in enumerate(rows)]
    return out, places
