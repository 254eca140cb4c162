"""What a build says while it works. Stages emit events; displays, logs and trackers listen.

One decision: an observer is a plain callable, so a display, a file and a test list are used alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageStarted:
    stage: str
    key: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class StageFinished:
    stage: str
    key: str
    seconds: float
    cached: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units in this stage, for the bar. work: (done, total) of what its time follows (tokens), for the ETA."""

    stage: str
    done: float
    total: float
    unit: str
    work: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a live curve: a line of `metrics.jsonl`."""

    step: int
    split: str
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the log and the person watching. `level` is info or warning."""

    text: str
    level: str = "info"


Event = StageStarted | StageFinished | Progress | Metric | Note
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An observer that does nothing."""
