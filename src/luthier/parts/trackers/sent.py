"""What a tracker has been given of a run: a small file in the run's folder, by which nothing is sent twice and nothing is left out.

One decision: it holds the last step of each curve, because a run that goes on after a kill does the same steps again with the same
numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from luthier.core.files import write_atomic
from luthier.core.keys import digest
from luthier.parts.trackers.contract import Point, Tracker


@dataclass
class Sent:
    """known: the tracker's own id of the run. last: the last step by curve. ended: the state that was recorded, or empty."""

    path: Path
    known: str = ""
    last: dict[str, int] = field(default_factory=dict)
    ended: str = ""

    @classmethod
    def read(cls, folder: Path, tracker: Tracker) -> Sent:
        """What is known in `folder`; another server or project of the same kind of tracker is another file."""
        path = folder / f"tracked-{digest(tracker.model_dump(mode='json'))[:8]}.json"
        if not path.is_file():
            return cls(path)
        return cls(path, **json.loads(path.read_text(encoding="utf-8")))

    def write(self) -> None:
        """Keep it."""
        body = {k: v for k, v in asdict(self).items() if k != "path"}
        write_atomic(self.path, json.dumps(body, indent=1).encode())

    def fresh(self, points: Iterable[Point]) -> list[Point]:
        """The points that come after what was sent, each step of a curve once."""
        last, out = dict(self.last), []
        for p in points:
            if p.step > last.get(p.name, -1):
                last[p.name] = p.step
                out.append(p)
        return out

    def add(self, points: Iterable[Point]) -> None:
        """Count these as sent."""
        for p in points:
            self.last[p.name] = max(p.step, self.last.get(p.name, -1))
