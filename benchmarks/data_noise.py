"""Noise planted in training rows, one kind at a time or all together, and test rows planted among them.

One decision: every planted row says so in a column of its own (`planted`), which no mapping reads, so that what a cleaning found
can be counted afterwards. What each kind does was fixed before anything was measured.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Rows = list[Row]

FLIPPED = 0.2
"""Share of the rows that get another intent, drawn uniformly over the others."""
REPEATED, COPIES = 0.1, 9
"""Share of the rows that stand again, and how often again."""
DAMAGED = 0.5
"""Share of the rows whose characters are damaged."""
LEAKED = 0.25
"""Share of the test rows that are planted among the training rows."""
ENDINGS = ("", " ", ".", "!", " please", " thanks")


def banking77(data: Path, part: str) -> Rows:
    """The rows of a file of Banking77, in its order."""
    path = data / "classification" / f"banking77_{part}.jsonl"
    with path.open(encoding="utf-8") if path.exists() else gzip.open(f"{path}.gz", "rt", encoding="utf-8") as f:
        return [{"text": row["text"], "label": row["category"], "planted": ""} for row in map(json.loads, f)]


def sample(rows: Rows, num_rows: int, intents: int, seed: int) -> Rows:
    """`num_rows` rows of the first `intents` intents in alphabetical order, drawn by `seed`."""
    wanted = set(sorted({row["label"] for row in rows})[:intents])
    return random.Random(seed).sample(kept := [row for row in rows if row["label"] in wanted], min(num_rows, len(kept)))


def flips(rows: Rows, rng: random.Random) -> Rows:
    """Wrong labels: of some rows, another one of the labels."""
    labels, chosen = sorted({row["label"] for row in rows}), set(rng.sample(range(len(rows)), round(FLIPPED * len(rows))))
    return [
        {**row, "label": rng.choice([x for x in labels if x != row["label"]]), "planted": "flip"} if i in chosen else row
        for i, row in enumerate(rows)
    ]


def copies(rows: Rows, rng: random.Random) -> Rows:
    """Rows that stand again and again, in other case or with another ending; shuffled in."""
    again = [
        {**row, "text": _retyped(row["text"], rng), "planted": f"{row['planted']} copy".strip()}
        for row in rng.sample(rows, round(REPEATED * len(rows)))
        for _ in range(COPIES)
    ]
    return rng.sample(rows + again, len(rows) + len(again))


def damage(rows: Rows, rng: random.Random) -> Rows:
    """Typographic apostrophes and no-break spaces in UTF-8 that were read as Windows-1252."""
    chosen = set(rng.sample(range(len(rows)), round(DAMAGED * len(rows))))
    return [
        {**row, "text": _damaged(row["text"], rng), "planted": f"{row['planted']} damage".strip()} if i in chosen else row
        for i, row in enumerate(rows)
    ]


def everything(rows: Rows, rng: random.Random) -> Rows:
    """Flips, then copies of some rows (right or wrong), then damage of some of all."""
    return damage(copies(flips(rows, rng), rng), rng)


def nothing(rows: Rows, rng: random.Random) -> Rows:
    """The rows as they are: what cleaning costs where there is nothing to clean."""
    return rows


def leak(rows: Rows, test: Rows, rng: random.Random) -> Rows:
    """Test rows with their labels among the training rows, word for word; `planted` is `leak`."""
    again = [{**row, "planted": "leak"} for row in rng.sample(test, round(LEAKED * len(test)))]
    return rng.sample(rows + again, len(rows) + len(again))


NOISE: dict[str, Callable[[Rows, random.Random], Rows]] = {
    "none": nothing,
    "label flips": flips,
    "duplicates": copies,
    "encoding damage": damage,
    "all together": everything,
}


def _retyped(text: str, rng: random.Random) -> str:
    return rng.choice((str, str.lower, str.upper))(text) + rng.choice(ENDINGS)


def _damaged(text: str, rng: random.Random) -> str:
    typed = "".join("\u00a0" if c == " " and rng.random() < 1 / 3 else "\u2019" if c == "'" else c for c in text)
    return typed.encode("utf-8").decode("cp1252", "replace")
