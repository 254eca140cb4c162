"""Measure: what answering costs: time of a row, memory, processor seconds, size on disk, tokens a character.

One decision: a process of its own loads the model and answers rows one by one, so its peak memory is that of this model and
its time is what a user waits for; the machine is part of the key, so another machine measures again.
"""

from __future__ import annotations

import datetime
import multiprocessing
import os
import resource
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from luthier.core.artifacts import BaseModel, Checkpoint, Dataset, Footprint, Prompting
from luthier.core.errors import LuthierError, MachineError
from luthier.core.events import Progress
from luthier.core.execution import Execution
from luthier.core.files import files_below
from luthier.core.records import Example, Message
from luthier.core.rows import choices_of, read_split
from luthier.core.stage import Built, Context, Stage
from luthier.engine.decoding import Decoding
from luthier.parts.prompting import ZERO_SHOT
from luthier.stages.evaluate.model import load_predictor
from luthier.stages.evaluate.prompting import read_prompting

WARM_UP = 2
LEAST = 6
"""Rows below which there is no interval of the median."""


class Measure(Stage[Footprint]):
    """Time up to `rows` validation rows, fewer (at least 6) once `seconds` have passed."""

    model: Stage  # of a BaseModel, a Checkpoint or a ClassicalModel
    dataset: Stage[Dataset]
    decoding: Decoding
    machine: str
    prompting: Stage[Prompting] | None = None
    rows: int = Field(default=20, ge=LEAST)
    seconds: float = Field(default=30.0, gt=0)

    def build(self, ctx: Context) -> Footprint:
        """Leaves nothing but the record. Raises MachineError when the measuring process ends before its time."""
        from luthier.stats.intervals import median_interval

        model, dataset = ctx.get(self.model), ctx.get(self.dataset)
        examples: list[Example] = read_split(dataset, "validation")
        way, shown = (ZERO_SHOT, ()) if self.prompting is None else read_prompting(ctx.get(self.prompting), dataset)
        chosen = [examples[i % len(examples)] for i in range(self.rows + WARM_UP)]
        asked = [(way.ask(row, shown), row.tools) for row in chosen]
        job = _Job(model, ctx.execution, self.decoding, choices_of(dataset), asked, self.seconds, os.getpid())
        done = _in_own_process(job, lambda n: self._tell(ctx, n))
        median = median_interval(np.array(done.milliseconds))
        return Footprint(
            num_rows=median.n,
            latency_ms={"value": median.value, "low": median.low, "high": median.high},
            cpu_seconds_per_row=done.cpu_seconds / median.n,
            peak_memory_mb=done.peak_memory_mb,
            size_mb=size_of(model) / 1e6,
            tokens_per_character=tokens_per_character(model.result, examples),
            machine=self.machine,
            measured=datetime.date.today().isoformat(),
        )

    def _tell(self, ctx: Context, done: int) -> None:
        ctx.observer(Progress("measure", done, self.rows, "rows timed one by one"))
        if ctx.stop_requested():
            ctx.stop("measuring starts over")


@dataclass(frozen=True)
class _Job:
    model: Built[Any]
    execution: Execution
    decoding: Decoding
    choices: tuple[str, ...]
    asked: list[tuple[tuple[Message, ...], Any]]
    seconds: float
    parent: int


@dataclass(frozen=True)
class _Timed:
    milliseconds: list[float]
    cpu_seconds: float
    peak_memory_mb: float


def _in_own_process(job: _Job, tell: Any) -> _Timed:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_time_rows, args=(there, job), daemon=True)
    process.start()
    there.close()
    try:
        while True:
            said = here.recv()
            if isinstance(said, int):
                tell(said)
            elif isinstance(said, LuthierError):
                raise said
            else:
                return said
    except EOFError:
        process.join()
        why = ": most likely there was not enough memory" if process.exitcode == -signal.SIGKILL else ""
        raise MachineError(f"the process that timed the rows ended with exit code {process.exitcode}{why}") from None
    finally:
        process.kill()
        process.join()


def _time_rows(connection: Connection, job: _Job) -> None:
    """The child: load, warm up, answer rows one by one, tell. It never outlives the process that started it."""
    from luthier.engine.parallel.worker import end_with

    end_with(job.parent)
    try:
        predictor = load_predictor(job.model, job.execution, job.decoding, job.choices)
        for prompt, tools in job.asked[:WARM_UP]:
            predictor.predict([prompt], None, [tools])
        milliseconds: list[float] = []
        began, cpu = time.perf_counter(), time.process_time()
        for prompt, tools in job.asked[WARM_UP:]:
            start = time.perf_counter()
            predictor.predict([prompt], None, [tools])
            milliseconds.append(1000 * (time.perf_counter() - start))
            connection.send(len(milliseconds))
            if len(milliseconds) >= LEAST and time.perf_counter() - began > job.seconds:
                break
        connection.send(_Timed(milliseconds, time.process_time() - cpu, peak_memory_mb()))
    except LuthierError as err:
        connection.send(err)
    except BaseException as err:  # noqa: BLE001 - the process edge: told to the first process
        connection.send(MachineError(f"timing rows failed: {type(err).__name__}: {err}"))


def peak_memory_mb() -> float:
    """Peak resident memory of this process. Linux's own count: `getrusage` would begin at that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def size_of(model: Built[Any]) -> int:
    """Bytes on disk that answering needs: the base's weights, and the artifact's files of a tuned or a classical model."""
    result = model.result
    folder = result.folder if isinstance(result, BaseModel) else result.base_folder
    base = sum(p.stat().st_size for p in files_below(Path(folder)) if p.suffix == ".safetensors") if folder else 0
    if isinstance(result, BaseModel):
        return base
    own = model.path / "adapter" if isinstance(result, Checkpoint) else model.path
    return base + sum(p.stat().st_size for p in files_below(own) if p.name not in ("record.json", "metrics.jsonl"))


def tokens_per_character(result: Any, rows: list[Example]) -> float | None:
    """Tokens of the rows' own text (what users wrote) for each of its characters: how well the vocabulary fits the language."""
    from luthier.engine.text.tokenizer import TextTokenizer

    folder = result.folder if isinstance(result, BaseModel) else result.base_folder
    texts = [m.content for row in rows for m in row.prompt if m.role == "user" and m.content]
    if folder is None or not texts:
        return None
    tokenizer = TextTokenizer.load(Path(folder))
    around = len(tokenizer.whole(""))
    return sum(len(tokenizer.whole(text)) - around for text in texts) / sum(len(text) for text in texts)
