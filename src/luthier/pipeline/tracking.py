"""A run's trackers: one process each, fed with what the run emits, and never waited for while it trains.

One decision: `metrics.jsonl` is what a run measured and a tracker gets a copy, so a tracker that fails loses nothing: it is said once,
the run goes on, and the next `luthier run` sends what is missing.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from luthier.core.config import flat
from luthier.core.errors import Interrupted, LeaseHeld
from luthier.core.events import Event, Metric, Note, Observer, StageFinished, StageStarted
from luthier.core.files import make_folder
from luthier.parts.trackers.contract import Ended, TrackedRun, Tracker
from luthier.parts.trackers.sent import Sent
from luthier.pipeline.workspace import Workspace
from luthier.report.model import RunReport

BUDGET_S, CLOSE_S, STOPPED_S = 30.0, 30.0, 5.0
"""What a tracker's failures may cost its own process, and how long a finished or a stopped run waits for what is not yet sent."""
CHILD = "luthier.parts.trackers.child"
Points = list[tuple[int, str, float, float]]


class Fed:
    """One tracker's process: what is given is queued and written by a thread, so giving takes no time."""

    def __init__(self, tracker: Tracker, run: TrackedRun, folder: Path) -> None:
        spec: dict[str, Any] = {"tracker": tracker.model_dump(mode="json"), "run": asdict(run), "folder": str(folder), "budget_s": BUDGET_S}
        self.kind, self.place = spec["tracker"]["kind"], tracker.place(Path(os.path.relpath(run.home)))
        self.problem, self.said = "", False
        self._log = (folder / f"tracker-{self.kind}.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is the run's to answer
        )
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._queue.put(json.dumps(spec))
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self._threads = [threading.Thread(target=t, args=a, daemon=True) for t, a in ((self._write, (stdin,)), (self._read, (stdout,)))]
        for thread in self._threads:
            thread.start()

    def give(self, body: dict[str, Any]) -> None:
        """Queue a line."""
        self._queue.put(json.dumps(body))

    def close(self, seconds: float) -> None:
        """No more lines: wait for at most so long, then end the process."""
        self._queue.put(None)
        try:
            self._process.wait(seconds)
            self._threads[1].join(1.0)
            if self._process.returncode and not self.problem:
                self.problem = f"its process ended with exit code {self._process.returncode}"
        except subprocess.TimeoutExpired:
            self.problem = self.problem or f"not everything was sent within {seconds:.0f} s of the run's end"
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _write(self, stdin: IO[str]) -> None:
        try:
            while (line := self._queue.get()) is not None:
                stdin.write(line + "\n")
                stdin.flush()
            stdin.close()
        except (BrokenPipeError, ValueError):  # the process has given up: what it said is read by the other thread
            return

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self.problem = json.loads(line)["problem"] or self.problem


@dataclass
class Tracking:
    """The trackers of one run while it goes on. `observer` goes into the build; `ended` says what came out."""

    workspace: Workspace
    folder: Path
    outer: Observer
    fed: list[Fed]
    ended: Ended | None = None
    _step: int = 0

    def observer(self, event: Event) -> None:
        """Hand numbers to the trackers and every event on; a tracker that has given up is said once."""
        if self.fed and isinstance(event, Metric):
            self._step = max(self._step, event.step)
            self._give([(event.step, f"{event.split}/{event.name}", event.value, time.time())])
        if self.fed and isinstance(event, (StageStarted, StageFinished)) and event.key == self.workspace.graph.train.key():
            self.replay()  # what an earlier process measured; nothing is sent twice
        self.say()
        self.outer(event)

    def replay(self) -> None:
        """Give everything that training has measured so far."""
        stage, store = self.workspace.graph.train, self.workspace.store
        for folder in (store.folder_of(stage), store.work / stage.key()[:12]):
            path = folder / "metrics.jsonl"
            if path.is_file():
                when = path.stat().st_mtime
                lines = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines(keepends=True) if x.endswith("\n")]
                points = [(x["step"], f"{x['split']}/{x['name']}", x["value"], when) for x in lines]
                self._step = max([self._step, *(p[0] for p in points)])
                self._give(points)
                return

    def _give(self, points: Points) -> None:
        for fed in self.fed:
            fed.give({"points": points})

    def say(self) -> None:
        """One note for each tracker that has given up."""
        for fed in self.fed:
            if fed.problem and not fed.said:
                fed.said = True
                text = f"the tracker {fed.kind} was given up: {fed.problem}; the run goes on, metrics.jsonl has every number, and the same"
                self.outer(Note(f"{text} command sends what is missing", "warning"))

    def close(self, ended: Ended, seconds: float) -> None:
        """Tell how the run ended and wait for what is not yet sent, for all trackers together at most so long."""
        until = time.monotonic() + seconds
        for fed in self.fed:
            fed.give({"ended": asdict(Ended(ended.state, ended.step or self._step, ended.figures, ended.texts))})
        for fed in self.fed:
            fed.close(max(0.1, until - time.monotonic()))
        self.say()
        for fed in self.fed:
            if not fed.problem:
                self.outer(Note(f"{fed.kind}: {fed.place}"))


@contextmanager
def tracked(workspace: Workspace, name: str, folder: Path, outer: Observer) -> Iterator[Tracking]:
    """The trackers of the project while the block goes on; how it ended is recorded even where it raises.

    Raises UserError or MachineError at once for a tracker that could not work at all (library, credentials).
    """
    trackers = workspace.project.track
    for tracker in trackers:
        tracker.check()
    if trackers:
        make_folder(folder)
    run = TrackedRun(workspace.project.name, name, str(workspace.home.resolve()), settings_of(workspace))
    tracking = Tracking(workspace, folder, outer, [Fed(tracker, run, folder) for tracker in trackers])
    try:
        yield tracking
    except (Interrupted, LeaseHeld) as err:
        tracking.close(Ended("stopped", texts={"sentence": str(err)}), STOPPED_S)
        raise
    except BaseException as err:
        tracking.close(Ended("failed", texts={"sentence": str(err)}), STOPPED_S)
        raise
    tracking.close(tracking.ended or Ended("trained"), CLOSE_S)


def settings_of(workspace: Workspace) -> dict[str, Any]:
    """The project's settings by dotted name, without those of the trackers themselves."""
    body = workspace.project.model_dump(mode="json", exclude={"track"})
    return {k: v for k, v in flat(body).items() if v is not None}


def ended_of(report: RunReport, folder: Path, trained: Path) -> Ended:
    """The end of a run that has a verdict: its figures with their intervals, its words, and where its files are."""
    v = report.verdict
    figures = {"effect": v.effect, "low": v.interval[0], "high": v.interval[1], "p": v.p, "baseline": v.baseline, "tuned": v.tuned}
    figures = {f"verdict/{name}": value for name, value in figures.items()}
    for row in report.evaluation.metrics:
        if row.tuned is not None:
            ends = {"": row.tuned.value, "/low": row.tuned.low, "/high": row.tuned.high}
            figures |= {f"test/{row.name}{end}": value for end, value in ends.items()}
    texts = {"decision": v.decision, "sentence": v.sentence, "report": str((folder / "report.html").resolve())}
    step = report.training.num_steps if report.training is not None else 0
    return Ended("done", step, figures, {**texts, "adapter": str((trained / "adapter").resolve())})


def unsent(workspace: Workspace, folder: Path) -> bool:
    """Whether a tracker of the project has not been told yet that this run is done."""
    return any(Sent.read(folder, tracker).ended != "done" for tracker in workspace.project.track)
