"""Ways to ask an untuned model: zero-shot, few-shot, and other wordings of the instruction.

One decision: demonstrations are the same for every row (drawn once from training rows, by seed), so the
engine computes them once, and no validation or test row is ever shown to the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from luthier.core.config import Config
from luthier.core.errors import UserError
from luthier.core.records import Example, Message


class Prompting(Config):
    """`shots` demonstrations from training rows, and words added before or after the system message."""

    name: str
    shots: int = Field(default=0, ge=0, le=256)
    seed: int = 13
    before: str = ""
    after: str = ""

    def demonstrations(self, training: Sequence[Example]) -> tuple[Example, ...]:
        """`shots` training rows in an order that takes the labels in turn. Raises UserError when there are too few."""
        if self.shots > len(training):
            raise UserError(
                "no more shots than training rows", f"shots={self.shots} of {len(training)} rows", f"evaluate.baselines.{self.name}"
            )
        ordered = sorted(training, key=lambda e: hashlib.sha256(f"{self.seed}:{e.key}".encode()).hexdigest())
        rounds: dict[str | None, int] = {}
        ranked: list[tuple[int, int, Example]] = []
        for i, example in enumerate(ordered):
            rounds[example.label] = rounds.get(example.label, 0) + (example.label is not None)
            ranked.append((rounds[example.label], i, example))
        return tuple(e for _, _, e in sorted(ranked, key=lambda r: r[:2])[: self.shots])

    def ask(self, example: Example, demonstrations: Sequence[Example]) -> tuple[Message, ...]:
        """The prompt for `example`: its own system message, the demonstrations as turns, its last user turn."""
        prompt = example.prompt
        system = [m for m in prompt if m.role == "system"]
        rest = [m for m in prompt if m.role != "system"]
        if system and (self.before or self.after):
            system = [replace(system[0], content=f"{self.before}{system[0].content}{self.after}"), *system[1:]]
        elif self.before or self.after:
            system = [Message("system", f"{self.before}{self.after}".strip())]
        turns = [m for d in demonstrations for m in d.messages if m.role != "system"]
        return (*system, *turns, *rest)


def each_number_of_shots(ways: Any) -> Any:
    """Ways as a project file writes them, one with a list of `shots` as one way for each (`few-shot-4`, `few-shot-8`)."""
    if not isinstance(ways, (list, tuple)):
        return ways
    out: list[Any] = []
    for way in ways:
        shots = way.get("shots") if isinstance(way, dict) else None
        several = shots if isinstance(shots, (list, tuple)) else None
        if several is not None and not several:
            raise ValueError(f"`shots` must be a number or a list of numbers, got an empty list for {way.get('name', 'few-shot')}")
        out += [way] if several is None else [{**way, "name": f"{way.get('name', 'few-shot')}-{k}", "shots": k} for k in several]
    return out


ZERO_SHOT = Prompting(name="zero-shot")
DEFAULT_WAYS = (ZERO_SHOT, Prompting(name="few-shot-4", shots=4), Prompting(name="few-shot-8", shots=8))
"""The ways in which an untuned model is asked unless the project names its own."""
