"""The further processes: what they are given, and how their end is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from luthier.core.execution import Execution
from luthier.engine.contract import NonFiniteLoss
from luthier.engine.parallel.member import Answer
from luthier.engine.parallel.start import share_of
from luthier.engine.parallel.workers import ProcessLost, Workers


def test_threads_and_memory_are_divided() -> None:
    own = share_of(Execution(nproc=3, memory_gb=6, engine="fast", save_every=4), threads=8)
    assert own == Execution(nproc=1, memory_gb=2, threads=2, engine="fast", save_every=4)
    assert share_of(Execution(nproc=3, memory_gb=6), threads=2).threads == 1


def ready(workers: Workers) -> list[Answer]:
    workers.tell("ready", [()] * (workers.size - 1))
    return workers.answers()


def test_an_error_that_is_not_the_users_ends_the_process_and_is_told_with_its_trace() -> None:
    with Workers(2, 1) as workers:
        assert [a.error for a in ready(workers)] == [None]
        workers.tell("no_such_verb", [()])
        with pytest.raises(RuntimeError, match="process 2: AttributeError: 'Member' object has no attribute 'no_such_verb'") as caught:
            workers.answers()
        assert "carry_out" in "".join(caught.value.__notes__)
        with pytest.raises(ProcessLost, match=r"process 2 of 2 has ended \(exit code 1"):
            ready(workers)


def test_a_process_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 5\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with Workers(3, 1) as workers, pytest.raises(ProcessLost, match=r"process [23] of 3 has ended \(exit code 5: no such library\)"):
        ready(workers)
    assert not workers.meeting.parent.exists()


def test_another_process_says_a_loss_that_is_not_finite_in_the_same_words() -> None:
    import pickle

    err = NonFiniteLoss("the loss", (3, 5))
    again = pickle.loads(pickle.dumps(err))  # noqa: S301 - what a socket between two of our processes does
    assert (str(again), again.sequences, again.what) == (str(err), (3, 5), "the loss")
