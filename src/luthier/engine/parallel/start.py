"""Opens the engine that a run trains with: one process, or several that share each optimiser step.

One decision: threads and memory are divided between the processes here and nowhere else, and the micro-batch is chosen
once, by the first, so that the same number of processes gives the same bytes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from luthier.core.execution import Execution
from luthier.engine.contract import Engine
from luthier.engine.memory.room import GB, limit_bytes
from luthier.engine.parallel import group
from luthier.engine.parallel.balance import cost_of
from luthier.engine.parallel.engine import DataParallel
from luthier.engine.parallel.member import LoadOrder, Member, carry_out
from luthier.engine.parallel.workers import Workers
from luthier.engine.select import Dtype, load_engine


@contextmanager
def open_engine(folder: Path, method: Any, execution: Execution, seed: int, dtype: Dtype = "float32") -> Iterator[Engine]:
    """`load_engine` over `execution.nproc` processes, which end with the context.

    Raises what `load_engine` raises, and ProcessLost when a process ends before its time.
    """
    if execution.nproc == 1:
        yield load_engine(folder, method, execution, seed, dtype=dtype)
        return
    threads = execution.threads or torch.get_num_threads()
    own = share_of(execution, threads)
    try:
        with Workers(execution.nproc, own.threads or 1) as workers:
            member = Member(0)
            if execution.shard:
                _gather(member, workers)  # the weights are divided while they are loaded
            member.load(LoadOrder(folder, method, own, seed, dtype))
            if not execution.shard:
                _gather(member, workers)
            fixed = own.model_copy(update={"micro_batch_tokens": member.engine.micro_batch_tokens or own.micro_batch_tokens})
            workers.tell("load", [(LoadOrder(folder, method, fixed, seed, dtype),)] * (workers.size - 1))
            _raise_first(workers)
            yield DataParallel(member, workers, cost_of(folder, member.engine.name), threads, execution.shard)
    finally:
        group.leave()
        torch.set_num_threads(threads)


def share_of(execution: Execution, threads: int) -> Execution:
    """One process's part of the threads and of the memory."""
    n = execution.nproc
    return execution.model_copy(update={"nproc": 1, "threads": max(1, threads // n), "memory_gb": limit_bytes(execution) / n / GB})


def _gather(member: Member, workers: Workers) -> None:
    workers.tell("ready", [()] * (workers.size - 1))
    _raise_first(workers)  # a process that could not even start is told apart from one that never comes
    args = (workers.size, workers.meeting)
    workers.tell("join", [args] * (workers.size - 1))
    with workers.watched():
        carry_out(member, "join", args)
    _raise_first(workers)


def _raise_first(workers: Workers) -> None:
    for answer in workers.answers():
        if answer.error is not None:
            raise answer.error
