"""trackio: a local SQLite file below `.luthier/trackio`, shown by `trackio show`.

One decision: the folder is this project's own and nothing is sent anywhere; the machine's own figures are not recorded, because a
run's record has them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from luthier.parts.trackers.contract import Ended, Point, Session, TrackedRun, Tracker

ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_DATASET_ID", "TRACKIO_BUCKET_ID")


class Trackio(Tracker):
    """Curves by optimiser step, settings as the run's config, the verdict as figures and text of its last step."""

    kind: Literal["trackio"] = "trackio"
    project: str | None = Field(default=None, description="the project's name when not given")

    needs: ClassVar[tuple[str, ...]] = ("trackio",)

    def open(self, run: TrackedRun) -> Session:
        return _Run(self, run)

    def place(self, home: Path) -> str:
        return f"TRACKIO_DIR={home / 'trackio'} trackio show"


class _Run:
    def __init__(self, tracker: Trackio, run: TrackedRun) -> None:
        os.environ["TRACKIO_DIR"] = str(Path(run.home) / "trackio")
        for name in ELSEWHERE:
            os.environ.pop(name, None)
        import trackio

        self.id = run.name
        self._run: Any = trackio.init(
            project=tracker.project or run.project,
            name=run.name,
            config=dict(run.settings),
            resume="allow" if run.known else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, points: Sequence[Point]) -> None:
        for step in dict.fromkeys(p.step for p in points):
            self._run.log({p.name: p.value for p in points if p.step == step}, step=step)

    def finish(self, ended: Ended) -> None:
        self._run.log({**ended.figures, "state": ended.state, **ended.texts}, step=ended.step)

    def close(self) -> None:
        self._run.finish()
