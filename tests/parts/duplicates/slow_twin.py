"""The slow twin of the near-duplicate finder: sets of strings, every pair, nothing hashed."""

from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path


def shingle_strings(text: str, unit: str, size: int) -> frozenset[object]:
    """The shingles of a text as strings or tuples of words; a short text is one shingle."""
    parts: list[str] = list(text) if unit == "characters" else [w for w in text.split(" ") if w]
    return frozenset(tuple(parts[i : i + size]) for i in range(max(1, len(parts) - size + 1)))


def true_jaccard(a: str, b: str, unit: str = "characters", size: int = 5) -> float:
    """Jaccard of two texts, from their shingles as strings."""
    x, y = shingle_strings(a, unit, size), shingle_strings(b, unit, size)
    return len(x & y) / len(x | y)


def alike_pairs(texts: list[str], threshold: float, unit: str = "characters", size: int = 5) -> set[tuple[int, int]]:
    """Every pair of rows whose Jaccard is at least the threshold."""
    sets = [shingle_strings(t, unit, size) for t in texts]
    return {(i, j) for i, j in combinations(range(len(texts)), 2) if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j])}


def partition(num: int, pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    """Connected components of two rows or more, by walking."""
    near: dict[int, set[int]] = {i: set() for i in range(num)}
    for a, b in pairs:
        near[a].add(b)
        near[b].add(a)
    seen: set[int] = set()
    found = set()
    for i in range(num):
        if i in seen:
            continue
        todo, part = [i], {i}
        while todo:
            todo += (new := near[todo.pop()] - part)
            part |= new
        seen |= part
        if len(part) > 1:
            found.add(frozenset(part))
    return found


def banking(shared_data: Path, num: int) -> list[str]:
    """The first real customer messages."""
    rows = (shared_data / "classification" / "banking77_test.jsonl").read_text(encoding="utf-8").splitlines()[:num]
    return [json.loads(row)["text"] for row in rows]


def edited(text: str, rng: random.Random) -> str:
    """A near copy: one typing mistake, one word dropped, doubled or put at an end."""
    words = text.split(" ")
    at = rng.randrange(len(words))
    kind = rng.randrange(4)
    if kind == 0:
        word = words[at]
        i = rng.randrange(len(word)) if word else 0
        words[at] = word[:i] + rng.choice("abcdefghij") + word[i + 1 :]
    elif kind == 1:
        del words[at]
    elif kind == 2:
        words.insert(at, words[at])
    else:
        words.append(rng.choice(["please", "thanks", "now"]))
    return " ".join(words)
