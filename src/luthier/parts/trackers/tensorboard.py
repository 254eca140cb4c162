"""TensorBoard event files below `.luthier/tensorboard`, a folder for each run.

One decision: tensorboard's own writer and protocol buffers are used, without torch or TensorFlow; a run that goes on adds a file to its
folder, which TensorBoard reads as one run.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from luthier.parts.trackers.contract import Ended, Point, Session, TrackedRun, Tracker


class TensorBoard(Tracker):
    """Curves, settings (the HParams tab) and the verdict, for `tensorboard --logdir .luthier/tensorboard`."""

    kind: Literal["tensorboard"] = "tensorboard"

    needs: ClassVar[tuple[str, ...]] = ("tensorboard",)

    def open(self, run: TrackedRun) -> Session:
        return _Files(run)

    def place(self, home: Path) -> str:
        return f"tensorboard --logdir {home / 'tensorboard'}"


class _Files:
    def __init__(self, run: TrackedRun) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.id = run.name
        self._writer: Any = EventFileWriter(str(Path(run.home) / "tensorboard" / run.name))
        if not run.known:
            shown = {k: v if isinstance(v, (bool, int, float)) else str(v) for k, v in run.settings.items()}
            self._add(hparams_pb(shown, trial_id=run.name), 0, time.time())

    def _add(self, summary: Any, step: int, when: float) -> None:
        self._writer.add_event(_messages("event").Event(step=step, wall_time=when, summary=summary))

    def log(self, points: Sequence[Point]) -> None:
        summary = _messages("summary").Summary
        for p in points:
            self._add(summary(value=[summary.Value(tag=p.name, simple_value=p.value)]), p.step, p.time)
        self._writer.flush()

    def finish(self, ended: Ended) -> None:
        now = time.time()
        self.log([Point(ended.step, name, value, now) for name, value in ended.figures.items()])
        for name, text in {"state": ended.state, **ended.texts}.items():
            self._add(_text(f"run/{name}", text), ended.step, now)

    def close(self) -> None:
        self._writer.close()


def _text(tag: str, text: str) -> Any:
    """A summary for the Text tab."""
    from tensorboard.plugins.text.metadata import create_summary_metadata

    summary, shape = _messages("summary").Summary, _messages("tensor_shape").TensorShapeProto
    tensor = _messages("tensor").TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=shape(dim=[shape.Dim(size=1)]))
    metadata = create_summary_metadata(display_name="", description="")
    return summary(value=[summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _messages(name: str) -> Any:
    """TensorBoard's protocol buffers of that name; their classes are made when they are imported."""
    return importlib.import_module(f"tensorboard.compat.proto.{name}_pb2")
