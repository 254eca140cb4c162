"""The process of one tracker: points come in as lines of JSON, and are handed to the tracker's session until the run ends.

One decision: this is the edge of a process of its own, so whatever a tracker's library raises is caught here, tried again with
growing pauses within one budget for the whole run, and then said in one line, without a secret in it; nothing here can stop the run.
"""

from __future__ import annotations

import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO, TypeVar

from luthier.parts.trackers.contract import Ended, Point, Session, TrackedRun, Tracker
from luthier.parts.trackers.loading import load_tracker
from luthier.parts.trackers.sent import Sent

T = TypeVar("T")
Tell = Callable[[dict[str, Any]], None]
BATCH_S, MOST = 2.0, 2000
"""Points are handed on when so much time has passed, or when there are so many."""
_SECRET = re.compile(r"(?i)(key|token|secret|passw|credential|cookie)")
_LOGIN = re.compile(r"//[^/@\s]+@")


class GivenUp(Exception):
    """The budget is spent; the message is what was raised last, in one line."""


@dataclass
class Budget:
    """Attempts and seconds that failures may cost in all."""

    seconds: float
    spent: float = 0.0
    attempts: int = 0

    def use(self, what: Callable[[], T]) -> T:
        """The result of `what`, tried again with growing pauses. Raises GivenUp."""
        while True:
            began = time.monotonic()
            try:
                return what()
            except Exception as err:
                self.attempts += 1
                self.spent += time.monotonic() - began
                pause = min(0.5 * 2**self.attempts, 8.0)
                if self.spent + pause > self.seconds:
                    raise GivenUp(without_secrets(f"{type(err).__name__}: {err}")) from err
                time.sleep(pause)
                self.spent += pause


def without_secrets(words: str) -> str:
    """`words` on one line of at most 300 characters, without a login in an address or the value of a variable named like a secret."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) > 3:
            words = words.replace(value, "${" + name + "}")
    return " ".join(_LOGIN.sub("//...@", words).split())[:300]


def carry(tracker: Tracker, run: TrackedRun, folder: Path, lines: Iterable[str], budget: Budget) -> str:
    """Hand every line on until the run ends or the lines do. Returns what went wrong, or nothing.

    A line is `{"points": [[step, name, value, time], ...]}` or `{"ended": {...}}`.
    """
    sent, session = Sent.read(folder, tracker), None
    try:
        for points, ended in _batches(lines):
            fresh = sent.fresh(points)
            if session is None and (fresh or (ended is not None and ended.state != sent.ended)):
                session = budget.use(lambda: tracker.open(replace(run, known=sent.known)))
                sent.known = session.id
                sent.ended = ""
                sent.write()
            if session is not None and fresh:
                _log(session, fresh, budget)
                sent.add(fresh)
                sent.write()
            if session is not None and ended is not None:
                _finish(session, ended, budget)
                sent.ended = ended.state
        if session is not None:
            budget.use(session.close)
            sent.write()
    except GivenUp as err:
        return str(err)
    return ""


def _log(session: Session, points: list[Point], budget: Budget) -> None:
    budget.use(lambda: session.log(points))


def _finish(session: Session, ended: Ended, budget: Budget) -> None:
    budget.use(lambda: session.finish(ended))


def _batches(lines: Iterable[str]) -> Iterable[tuple[list[Point], Ended | None]]:
    """Points collected for up to BATCH_S; how the run ended comes with the last of them."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in lines:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    points: list[Point] = []
    due = time.monotonic() + BATCH_S
    while True:
        try:
            line = waiting.get(timeout=max(0.0, due - time.monotonic()))
        except queue.Empty:
            line = ""
        body = json.loads(line) if line else {}
        points += [Point(*p) for p in body.get("points", ())]
        ended = Ended(**body["ended"]) if "ended" in body else None
        if line is None or ended is not None or len(points) >= MOST or time.monotonic() >= due:
            yield points, ended
            points, due = [], time.monotonic() + BATCH_S
        if line is None:
            return


def main(lines: TextIO, out: TextIO) -> None:
    """The process: the first line says which tracker and run; what goes wrong is one line of JSON on `out`."""
    spec = json.loads(lines.readline())
    os.nice(10)
    try:
        words = carry(load_tracker(spec["tracker"]), TrackedRun(**spec["run"]), Path(spec["folder"]), lines, Budget(spec["budget_s"]))
    except Exception as err:  # noqa: BLE001 - the process edge
        words = without_secrets(f"{type(err).__name__}: {err}")
    print(json.dumps({"problem": words}), file=out, flush=True)


if __name__ == "__main__":
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no line of the protocol
    main(sys.stdin, told)
    told.flush()
    os._exit(0)  # a library's own exit hooks may wait for a server
