"""Weights & Biases: offline files below `.luthier/wandb` for `wandb sync`, or online where the project says so and a key is there.

One decision: offline unless asked otherwise, so that nothing leaves the machine by a default; the machine, the code and the console
are never recorded, only what the project and the run say.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.parts.trackers.contract import Ended, Point, Session, TrackedRun, Tracker

KEY = "WANDB_API_KEY"


class WeightsAndBiases(Tracker):
    """Curves by optimiser step, settings as the run's config, the verdict and the artefacts' paths in its summary."""

    kind: Literal["wandb"] = "wandb"
    mode: Literal["offline", "online"] = Field(
        default="offline", description="online needs WANDB_API_KEY in the environment; WANDB_MODE=offline keeps it offline"
    )
    project: str | None = Field(default=None, description="the project's name when not given")
    entity: str | None = Field(default=None, description="the team or user; the key's own when not given")

    needs: ClassVar[tuple[str, ...]] = ("wandb",)

    def check(self) -> None:
        super().check()
        if self.chosen() == "online" and not os.environ.get(KEY):
            raise UserError(f"the environment must have {KEY}", "nothing", "track.wandb.mode", f"set {KEY}, or use mode: offline")

    def chosen(self) -> Literal["offline", "online"]:
        """The mode, which the environment may only make more private."""
        return "offline" if os.environ.get("WANDB_MODE") == "offline" else self.mode

    def open(self, run: TrackedRun) -> Session:
        return _Run(self, run)

    def place(self, home: Path) -> str:
        return "the project's page at Weights & Biases" if self.chosen() == "online" else f"wandb sync {home / 'wandb' / 'offline-run-*'}"


class _Run:
    def __init__(self, tracker: WeightsAndBiases, run: TrackedRun) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        home, mode = Path(run.home), tracker.chosen()
        home.mkdir(parents=True, exist_ok=True)
        quiet: Any = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            save_code=False,
            disable_job_creation=True,
            init_timeout=20,
            x_disable_stats=True,
            x_save_requirements=False,
            x_disable_meta=True,
            x_disable_machine_info=True,
        )
        self.id = run.known or uuid.uuid4().hex[:8]
        self._run: Any = wandb.init(
            project=tracker.project or run.project,
            entity=tracker.entity,
            name=run.name,
            id=self.id,
            resume="allow" if mode == "online" else None,
            mode=mode,
            dir=str(home),
            config=dict(run.settings),
            settings=quiet,
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, points: Sequence[Point]) -> None:
        for step in dict.fromkeys(p.step for p in points):
            self._run.log({"step": step, **{p.name: p.value for p in points if p.step == step}})

    def finish(self, ended: Ended) -> None:
        self._run.summary.update({**ended.figures, "state": ended.state, **ended.texts})

    def close(self) -> None:
        self._run.finish()
