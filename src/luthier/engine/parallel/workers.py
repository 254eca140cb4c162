"""The further processes of a parallel run as the first one sees them: started, asked, and ended.

One decision: a process that is gone is noticed by its closed socket, so the run stops at once with one message; what
was saved is whole, because only the first process writes.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from luthier.core.errors import MachineError
from luthier.engine.parallel.member import Answer

_NOTICE_S = 5.0
"""After a broken exchange, how long the end of the process that broke it may take to show."""


class ProcessLost(MachineError):
    """One of the processes of a run has ended. The message says which, how, and how to go on."""


class Workers:
    """Processes 1 .. size - 1, each with a socket to this one. Use as a context manager: they end with it."""

    def __init__(self, size: int, threads: int) -> None:
        self.size, self._threads = size, threads
        self._folder = Path(tempfile.mkdtemp(prefix="luthier-processes-"))
        self.meeting = self._folder / "meeting"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sockets: list[Connection] = []

    def __enter__(self) -> Workers:
        try:
            for rank in range(1, self.size):
                self._start(rank)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        for connection in self._sockets:
            connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, rank: int) -> None:
        ours, theirs = socket.socketpair()
        places = os.pathsep.join(p for p in sys.path if p)
        environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": str(self._threads)}
        words = [sys.executable, "-P", "-m", "luthier.engine.parallel.worker", str(theirs.fileno()), str(os.getpid()), str(rank)]
        with theirs, self._log(rank).open("wb") as log:
            process = subprocess.Popen(
                words,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C in a terminal reaches the first process alone
            )
        self._processes.append(process)
        self._sockets.append(Connection(ours.detach()))

    def _log(self, rank: int) -> Path:
        return self._folder / f"{rank}.log"

    def tell(self, verb: str, args: Sequence[tuple[Any, ...]]) -> None:
        """Ask a verb of every process, with `args[rank - 1]`. Raises ProcessLost."""
        for rank, (connection, given) in enumerate(zip(self._sockets, args, strict=True), start=1):
            try:
                connection.send((verb, given))
            except OSError:
                raise self._lost(rank) from None

    def answers(self) -> list[Answer]:
        """The answer of every process to the last verb, in the order of ranks. Raises ProcessLost."""
        return [self._answer(rank) for rank in range(1, self.size)]

    def _answer(self, rank: int) -> Answer:
        try:
            answer: Answer = self._sockets[rank - 1].recv()
        except (EOFError, OSError):
            raise self._lost(rank) from None
        if answer.crash:
            raise _crash(rank, answer.crash)
        return answer

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Turn the error of an exchange that a lost process has broken into the loss of that process."""
        try:
            yield
        except RuntimeError as err:
            rank = self._first_gone()
            if rank is None:
                raise
            raise self._lost(rank) from err

    def _first_gone(self) -> int | None:
        end = time.monotonic() + _NOTICE_S
        while time.monotonic() < end:
            for rank, process in enumerate(self._processes, start=1):
                if process.poll() is not None:
                    return rank
            time.sleep(0.01)
        return None

    def _lost(self, rank: int) -> Exception:
        """Why process `rank` is gone: its own last answer, or how it ended."""
        connection, process = self._sockets[rank - 1], self._processes[rank - 1]
        with suppress(EOFError, OSError):
            while connection.poll():
                answer: Answer = connection.recv()
                if answer.crash:
                    return _crash(rank, answer.crash)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_NOTICE_S)
        return ProcessLost(
            f"process {rank + 1} of {self.size} has ended ({self._how(rank)}), and the others were stopped; "
            "run the same command again to go on from the last saved point, with any --nproc"
        )

    def _how(self, rank: int) -> str:
        code = self._processes[rank - 1].returncode
        if code is None:
            return "its connection is closed"
        if code == -signal.SIGKILL:
            return "killed by SIGKILL, which the system also sends when memory runs out"
        if code < 0:
            return f"by {signal.Signals(-code).name}"
        said = self._log(rank).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"exit code {code}" + (f": {said[-1]}" if said else "")


def _crash(rank: int, trace: str) -> Exception:
    """An error that is not the user's, raised here as it was there."""
    err = RuntimeError(f"process {rank + 1}: {trace.strip().splitlines()[-1]}")
    err.add_note(trace)
    return err
