"""The store: builds stages, keeps finished artifacts, resumes killed ones, and verifies what it reads.

One decision: work happens in `work/<key12>/` under a lease and becomes `artifacts/<stage>-<key12>/` by
one rename after everything is fsynced, so a finished artifact is whole by construction.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

from luthier.core import record as records_on_disk
from luthier.core.errors import CorruptArtifact, Interrupted, MachineError, from_os_error
from luthier.core.events import Event, Metric, Note, Observer, StageFinished, StageStarted, ignore
from luthier.core.execution import Execution
from luthier.core.files import (
    append_bytes,
    fsync_path,
    fsync_tree,
    make_folder,
    make_read_only,
    remove_asides,
    remove_tree,
    write_bytes,
)
from luthier.core.keys import canonical, class_name
from luthier.core.lease import acquire
from luthier.core.stage import Artifact, Built, Stage

T = TypeVar("T", bound=Artifact)
GONE = ".gone-"


@dataclasses.dataclass
class BuildContext:
    """The `core.stage.Context` that the store hands to a stage."""

    store: Store
    dir: Path
    execution: Execution
    observer: Observer
    stop_flag: Callable[[], bool]
    wait: bool = False

    def get(self, stage: Stage[T]) -> Built[T]:
        found = self.store.find(stage)
        return found or self.store.build(stage, self.execution, self.observer, self.stop_flag, self.wait)

    def stop_requested(self) -> bool:
        return self.stop_flag()

    def stop(self, done: str) -> None:
        raise Interrupted(f"stopped: {done}; run the same command again to go on from here")


class Store:
    """Finished artifacts and work in progress below one `.luthier` folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"
        self.artifacts = root / "artifacts"
        self._verified: dict[str, Built[Any]] = {}
        self.on_finished: Callable[[Built[Any]], None] = lambda built: None

    def prepare(self) -> None:
        """Create the folders. Raises MachineError when the place is not writable."""
        try:
            make_folder(self.work)
            make_folder(self.artifacts)
            for gone in self.work.glob(f"{GONE}*"):
                shutil.rmtree(gone, ignore_errors=True)
        except OSError as err:
            raise from_os_error(err, "creating the store") from err
        if not os.access(self.work, os.W_OK):
            raise MachineError(f"no permission to write to {self.work}: make the folder writable or choose another one")

    def folder_of(self, stage: Stage[Any]) -> Path:
        """Where the finished artifact of `stage` is or will be."""
        return self.artifacts / f"{stage.stage_name()}-{stage.key()[:12]}"

    def is_built(self, stage: Stage[Any]) -> bool:
        """True when the artifact is there (not verified)."""
        return (self.folder_of(stage) / records_on_disk.RECORD).is_file()

    def in_progress(self, stage: Stage[Any]) -> bool:
        """True when a killed or running build has left work to resume."""
        return (self.work / stage.key()[:12]).is_dir()

    def find(self, stage: Stage[T]) -> Built[T] | None:
        """The finished artifact, verified against its record once per process, or None."""
        key = stage.key()
        if key in self._verified:
            return self._verified[key]
        folder = self.folder_of(stage)
        if not folder.is_dir():
            return None
        record = records_on_disk.verify(folder)
        if record["key"] != key:
            raise CorruptArtifact(f"the artifact {folder} belongs to key {record['key'][:24]}, not {key[:24]}; delete it and run again")
        built: Built[Any] = Built(
            stage=stage.stage_name(),
            key=key,
            path=folder,
            result=result_type(type(stage)).model_validate(record["result"]),
            seconds=record["seconds"],
            cached=True,
        )
        self._verified[key] = built
        return built

    def build(
        self,
        stage: Stage[T],
        execution: Execution,
        observer: Observer = ignore,
        stop_flag: Callable[[], bool] = lambda: False,
        wait: bool = False,
    ) -> Built[T]:
        """The artifact of `stage`: found, or built after its inputs. See `Context` for what a stage sees."""
        found = self.find(stage)
        if found is not None and not stage.gone(found.result):
            observer(StageFinished(found.stage, found.key, found.seconds, cached=True))
            return found
        for below in stage.inputs().values():
            self.build(below, execution, observer, stop_flag, wait)
        self.prepare()
        work = self.work / stage.key()[:12]
        lease = acquire(work, f"{stage.stage_name()} {stage.key()[:12]}", wait)
        try:
            found = self.find(stage)  # another process may have finished it while we waited
            why = stage.gone(found.result) if found is not None else ""
            if found is not None and not why:
                return found
            if why:
                observer(Note(f"{stage.stage_name()} is built again: {why}", "warning"))
                self._verified.pop(stage.key(), None)
                self._remove(stage)
            ctx = BuildContext(self, work, execution, observer, stop_flag, wait)
            return self._build_here(stage, ctx)
        except OSError as err:
            raise from_os_error(err, f"building {stage.stage_name()}") from err
        finally:
            lease.__exit__(None, None, None)

    def _remove(self, stage: Stage[Any]) -> None:
        """Take an artifact away at once; a kill leaves it whole or gone, never half deleted."""
        aside = self.work / f"{GONE}{self.folder_of(stage).name}.{os.getpid()}"
        self.folder_of(stage).rename(aside)
        fsync_path(self.artifacts)
        remove_tree(aside)

    def _build_here(self, stage: Stage[T], ctx: BuildContext) -> Built[T]:
        resumed = ctx.dir.is_dir()
        if (ctx.dir / records_on_disk.RECORD).is_file():  # killed between the record and the rename
            return self._publish(stage, ctx)
        make_folder(ctx.dir / records_on_disk.SCRATCH)
        remove_asides(ctx.dir)
        if ctx.stop_requested():
            ctx.stop(f"before {stage.stage_name()} began")
        start = time.monotonic()
        before_s = _seconds_so_far(ctx.dir)
        ctx.observer(StageStarted(stage.stage_name(), stage.key(), resumed))
        ctx.observer = _with_metrics_file(ctx)
        try:
            result = stage.build(ctx)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk: the first error is the one to tell
                _note_seconds(ctx.dir, before_s + time.monotonic() - start)
            raise
        seconds = before_s + time.monotonic() - start
        _note_seconds(ctx.dir, seconds)
        return self._finish(stage, ctx, result, seconds)

    def _finish(self, stage: Stage[T], ctx: BuildContext, result: T, seconds: float) -> Built[T]:
        """Flush the outputs, then write the record: from here on the work counts as done."""
        body = {
            "stage": stage.stage_name(),
            "class": class_name(type(stage)),
            "version": stage.version,
            "key": stage.key(),
            "config": canonical(stage.identity()),
            "inputs": {path: below.key() for path, below in stage.inputs().items()},
            "execution": ctx.execution.model_dump(),
            "seconds": round(seconds, 3),
            "cost": records_on_disk.process_cost(),
            "result": result.model_dump(mode="json"),
        }
        fsync_tree(ctx.dir)
        records_on_disk.write_record(ctx.dir, body)
        return self._publish(stage, ctx)

    def _publish(self, stage: Stage[T], ctx: BuildContext) -> Built[T]:
        """Make a recorded work folder the artifact. Safe to repeat after a kill at any point."""
        remove_tree(ctx.dir / records_on_disk.SCRATCH)
        fsync_path(ctx.dir)  # else a power cut could bring the scratch back inside the artifact
        make_read_only(ctx.dir)
        ctx.dir.rename(self.folder_of(stage))
        fsync_path(self.artifacts)
        fsync_path(self.work)
        built = self.find(stage)
        if built is None:
            raise CorruptArtifact(f"the artifact {self.folder_of(stage)} vanished while it was being published")
        self.on_finished(built)
        ctx.observer(StageFinished(built.stage, built.key, built.seconds, cached=False))
        return built.model_copy(update={"cached": False})


def result_type(cls: type[Stage[Any]]) -> type[Artifact]:
    """The artifact class `T` of a `Stage[T]` subclass."""
    for base in cls.__mro__:
        args = getattr(base, "__pydantic_generic_metadata__", {}).get("args", ())
        if args and isinstance(args[0], type) and issubclass(args[0], Artifact):
            return args[0]
    raise TypeError(f"{class_name(cls)} must derive from Stage[SomeArtifact], got {get_args(cls)}")


def _with_metrics_file(ctx: BuildContext) -> Observer:
    """An observer that also appends each Metric to `metrics.jsonl` of the work folder."""
    path, outer = ctx.dir / "metrics.jsonl", ctx.observer

    def observe(event: Event) -> None:
        if isinstance(event, Metric):
            append_bytes(path, (json.dumps(dataclasses.asdict(event)) + "\n").encode())
        outer(event)

    return observe


def _seconds_so_far(work: Path) -> float:
    path = work / records_on_disk.SCRATCH / "seconds"
    try:
        return float(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


def _note_seconds(work: Path, seconds: float) -> None:
    scratch = work / records_on_disk.SCRATCH
    if scratch.is_dir():
        write_bytes(scratch / "seconds", f"{seconds:.3f}".encode())
