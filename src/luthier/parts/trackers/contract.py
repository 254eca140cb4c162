"""What a tracker is: a frozen config that opens a session for one run, to which points, and at the end the verdict, are given.

One decision: a session lives in a process of its own (`child`), so a server that is down, a library that hangs and its memory are
never the training's; whatever a session raises is tried again there within a budget, and then said once.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from luthier.core.config import Config
from luthier.core.errors import MachineError

Setting = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Point:
    """One number of a curve: `name` is `<split>/<metric>`, `time` is in seconds since 1970."""

    step: int
    name: str
    value: float
    time: float


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """The run that is tracked. home: the `.luthier` folder. known: the tracker's own id of this run from an earlier session, or empty."""

    project: str
    name: str
    home: str
    settings: dict[str, Setting]
    known: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: done, trained, stopped or failed. figures: the verdict and the sealed metrics with their intervals, by name.

    texts: the decision, its sentence, and the paths of the report and the adapter.
    """

    state: str
    step: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


class Session(Protocol):
    """One run open in a tracker. Every method may raise anything: it is then tried again, so a repeated call must do no harm."""

    id: str

    def log(self, points: Sequence[Point]) -> None:
        """Add these points, each of which is given once."""
        ...

    def finish(self, ended: Ended) -> None:
        """Record how the run ended; the last call before `close`."""
        ...

    def close(self) -> None:
        """Flush what is buffered."""
        ...


class Tracker(Config):
    """Base of every tracker; a subclass has a `kind`. needs: the modules without which it cannot work; extra: what installs them."""

    needs: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = "trackers"

    def check(self) -> None:
        """Look whether it could work at all (library, credentials), without a request. Raises MachineError or UserError."""
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if missing:
            raise MachineError(f"the tracker needs {', '.join(missing)}: pip install 'luthier[{self.extra}]'")

    def open(self, run: TrackedRun) -> Session:
        """Open the run, or go on with `run.known`. Called in the tracker's own process."""
        raise NotImplementedError

    def place(self, home: Path) -> str:
        """Where a person finds the numbers, in words."""
        raise NotImplementedError
