"""The gold set of names: apart from structured data, with families looked at while building and families not.

One decision: a name counts as found when the span overlaps it (where a name begins is a matter of taste: title, initial);
whatever else is reported is a false positive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from pii_gold import Item

_COMMON = ["Anna", "David", "Emma", "Laura", "Peter", "Maria", "Thomas", "Sarah", "Daniel", "Julia", "Robert", "Sofia"]
_RARE = ["Siobhan", "Thandiwe", "Quentin", "Björn", "Nguyen", "Oksana", "Ayodele", "Itziar", "Wanjiru", "Zdeněk", "Xochitl", "Saoirse"]
_LAST = ["Keller", "Brown", "Rossi", "Novak", "Dubois", "Patel", "Okafor", "MacLeod", "O'Neill", "Lindqvist", "Yamamoto", "Ferreira"]
_SEEN = ("My name is {}.", "Dear {}, thank you.", "Mr {} called.", "Regards,\n{}", "Name: {}")
_UNSEEN = (
    "{} opened the account in May.",
    "I spoke with {} at your branch.",
    "the card belongs to {} now",
    "Ich heiße {} und warte.",
    "please ask {} about it",
    "{}'s card was declined",
)
_SEEN_NOT = ("Dear Customer, hello.", "Hi there, how are you?", "New York is large.", "My Visa Card failed on Monday.")
_UNSEEN_NOT = (
    "Thanks, Support Team",
    "The Bank of England and Credit Suisse merged nothing.",
    "I use Google Pay and Apple Pay in Los Angeles.",
    "Hello World is a Python Program.",
    "Open the Settings Page, then Account Details.",
    "Contact: Customer Service",
)


def names_set(num_items: int, seed: int) -> list[Item]:
    """Half of the items seen, half of each half without a name."""
    rng, items = Random(seed), []
    for seen, sentences, none, first in ((True, _SEEN, _SEEN_NOT, _COMMON), (False, _UNSEEN, _UNSEEN_NOT, [*_COMMON, *_RARE])):
        for i in range(num_items // 4):
            name = f"{rng.choice(first)} {rng.choice(_LAST)}"
            sentence = sentences[i % len(sentences)]
            at = sentence.index("{}")
            items.append(Item(sentence.replace("{}", name), "name", at, at + len(name), sentence, seen))
            items.append(Item(none[i % len(none)], "", 0, 0, none[i % len(none)], seen))
    return items


def measured_names(items: Sequence[Item], find: Callable[[str], list[tuple[str, int, int]]]) -> dict[str, int]:
    """Names wanted, names found (any overlap), and reports that overlap no name."""
    wanted = hits = false = 0
    for item in items:
        spans = [(a, b) for kind, a, b in find(item.text) if kind == "name"]
        over = [a < item.end and item.start < b for a, b in spans]
        wanted += item.kind == "name"
        hits += item.kind == "name" and any(over)
        false += sum(not o for o in over)
    return {"wanted": wanted, "found": hits, "false": false}


def names(find: Callable[[str], list[tuple[str, int, int]]], rates: Callable[[int, int, int], Any], seed: int) -> dict[str, Any]:
    """Precision and recall of both halves of 800 items."""
    items = names_set(800, seed)
    counts = {half: measured_names([i for i in items if i.seen == seen], find) for half, seen in (("seen", True), ("unseen", False))}
    return {half: rates(c["found"], c["wanted"], c["false"]) for half, c in counts.items()}
