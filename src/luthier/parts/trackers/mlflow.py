"""MLflow: a run in an experiment of the project's name, in a SQLite file below `.luthier` or on a server.

One decision: the client object is used and never MLflow's global state, and a request is given up quickly, because trying again is
the tracker process's own business.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from luthier.parts.origins.secrets import filled, refuse_literal_secrets
from luthier.parts.trackers.contract import Ended, Point, Session, TrackedRun, Tracker

BATCH, LONGEST = 500, 500
"""Entries of one request, and characters of one setting: within the limits of every MLflow server."""
STATES = {"done": "FINISHED", "trained": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow(Tracker):
    """Settings as parameters, curves as metrics, the verdict and the artefacts' paths as tags."""

    kind: Literal["mlflow"] = "mlflow"
    uri: str | None = Field(
        default=None, description="the tracking server or database, `${NAME}` filled from the environment; a SQLite file when not given"
    )
    experiment: str | None = Field(default=None, description="the project's name when not given")

    needs: ClassVar[tuple[str, ...]] = ("mlflow",)

    @field_validator("uri")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        if value is not None:
            refuse_literal_secrets(value)
        return value

    def check(self) -> None:
        super().check()
        if self.uri is not None:
            filled(self.uri)

    def open(self, run: TrackedRun) -> Session:
        return _Run(self, run)

    def place(self, home: Path) -> str:
        return f"mlflow ui --backend-store-uri {self.uri or _database(home)}"


def _database(home: Path) -> str:
    return f"sqlite:///{home.resolve() / 'mlflow.db'}"


class _Run:
    def __init__(self, tracker: MLflow, run: TrackedRun) -> None:
        for name, value in {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        }.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        home = Path(run.home)
        self._client: Any = MlflowClient(tracking_uri=filled(tracker.uri) if tracker.uri else _database(home))
        if run.known:
            self.id = run.known
            self._client.update_run(self.id, status="RUNNING")
            return
        place = None if tracker.uri else (home / "mlflow-artifacts").resolve().as_uri()
        self.id = self._client.create_run(
            _experiment(self._client, tracker.experiment or run.project, place), run_name=run.name
        ).info.run_id
        settings = [Param(name, str(value)[:LONGEST]) for name, value in run.settings.items()]
        for at in range(0, len(settings), 100):
            self._client.log_batch(self.id, params=settings[at : at + 100])

    def log(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(p.name, p.value, int(1000 * p.time), p.step) for p in points]
        for at in range(0, len(metrics), BATCH):
            self._client.log_batch(self.id, metrics=metrics[at : at + BATCH])

    def finish(self, ended: Ended) -> None:
        import time

        now = time.time()
        self.log([Point(ended.step, name, value, now) for name, value in ended.figures.items()])
        for name, text in {"state": ended.state, **ended.texts}.items():
            self._client.set_tag(self.id, f"luthier.{name}", text[:5000])
        self._client.set_terminated(self.id, STATES[ended.state])

    def close(self) -> None:
        """Every request has been answered already."""


def _experiment(client: Any, name: str, place: str | None) -> str:
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found is not None else client.create_experiment(name, artifact_location=place)
