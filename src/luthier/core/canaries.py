"""Canaries: rows with a secret that nobody wrote, planted among training rows to measure what a model remembers of them.

One decision: a planted row is known by the beginning of its key wherever it goes, and it is never counted as data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from luthier.core.files import write_json
from luthier.core.records import Example, Message, Source

PLANTED, FILE = "planted-", "canaries.json"


@dataclass(frozen=True, slots=True)
class Canary:
    """A planted row: its prompt, its secret answer, how often it stands in the rows, and the answers that it is ranked among."""

    key: str
    prompt: str
    answer: str
    repeats: int
    references: tuple[str, ...]

    def example(self, answer: str) -> Example:
        """The row, with its own answer or a reference's."""
        return Example((Message("user", self.prompt), Message("assistant", answer)), Source("planted", self.key), key=self.key)


def write_canaries(folder: Path, canaries: Sequence[Canary]) -> None:
    """Write `canaries.json`."""
    write_json(folder / FILE, [asdict(c) for c in canaries])


def read_canaries(folder: Path) -> tuple[Canary, ...]:
    """The canaries of a Prepared artifact; empty when none were planted."""
    path = folder / FILE
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return tuple(Canary(**{**c, "references": tuple(c["references"])}) for c in found)
