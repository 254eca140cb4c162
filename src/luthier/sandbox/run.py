"""Starting the sandbox, feeding it and judging how it ended.

One decision: "it ran to its end" is a random token that the walls' inside gives back after the last line, never an exit code of 0,
which the code could choose itself. Code that searches its own process for the token can find it: the walls contain, they do not
make honest.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from luthier.core.errors import MachineError

Outcome = Literal["finished", "raised", "exited", "timeout", "killed", "too much output"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds of wall and processor time, MiB of memory and of files, bytes of what it prints (each of two streams)."""

    seconds: float = 10.0
    cpu_seconds: int = 8
    memory_mb: int = 512
    work_mb: int = 32
    output_bytes: int = 256 << 10


@dataclass(frozen=True, slots=True)
class Run:
    """How code ended. finished: ran to its last line; raised: an exception; exited: it left early; killed: by a signal."""

    outcome: Outcome
    stdout: str
    stderr: str
    seconds: float
    signal: int = 0

    @property
    def reason(self) -> str:
        """One line for a table: the outcome and the last line of what went wrong."""
        if self.outcome == "killed":
            return f"killed by {signal.Signals(self.signal).name}"
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return f"raised {lines[-1][:200]}" if self.outcome == "raised" and lines else self.outcome


def run_python(programs: tuple[str, ...], stdin: str = "", limits: Limits | None = None) -> Run:
    """Execute the programs one after the other in one namespace, with the standard library alone, behind the sandbox's walls.

    Raises MachineError when the machine cannot build every wall; then nothing was executed.
    """
    if sys.platform != "linux":
        raise MachineError(f"untrusted code is only run where Linux can contain it, this is {sys.platform}: leave code_tests out")
    limits = limits or Limits()
    start = time.monotonic()
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="luthier-sandbox-") as root, tempfile.TemporaryFile() as given:
        given.write(stdin.encode("utf-8", "replace"))
        given.seek(0)
        process, report = _start(programs, token, root, given, limits)
        with process, os.fdopen(report, "rb") as f:
            try:
                streams, stopped = _read(process, limits, start)
            finally:
                _kill(process)
            said = [json.loads(line) for line in f.read().splitlines()]
    return _judged(said, token, streams, stopped, time.monotonic() - start)


def _start(programs: tuple[str, ...], token: str, root: str, given: IO[bytes], limits: Limits) -> tuple[subprocess.Popen[bytes], int]:
    """The process and the reading end of its report."""
    read, write = os.pipe()
    job = {
        "programs": list(programs),
        "token": token,
        "root": root,
        "report": write,
        "parent": os.getpid(),
        "memory_mb": limits.memory_mb,
        "work_mb": limits.work_mb,
        "cpu_seconds": limits.cpu_seconds,
    }
    with tempfile.TemporaryFile() as order:
        order.write(json.dumps(job).encode())
        order.seek(0)
        launcher = str(Path(__file__).with_name("launcher.py"))
        command = [os.path.realpath(sys.executable), "-I", "-S", "-X", "utf8", launcher, str(order.fileno())]
        try:
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                pass_fds=(order.fileno(), write),
                start_new_session=True,
            )
        finally:
            os.close(write)
    return process, read


def _read(process: subprocess.Popen[bytes], limits: Limits, start: float) -> tuple[list[bytes], Outcome | None]:
    """What it printed on both streams, and why it was stopped, if it was."""
    assert process.stdout is not None
    assert process.stderr is not None
    found = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in found:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = start + limits.seconds - time.monotonic()
            if left <= 0:
                return [bytes(b) for b in found.values()], "timeout"
            for key, _ in selector.select(left):
                piece = os.read(key.fd, 65536)
                if not piece:
                    selector.unregister(key.fileobj)
                buffer = found[key.fileobj]  # type: ignore[index]
                buffer += piece[: limits.output_bytes - len(buffer)]
                if len(buffer) >= limits.output_bytes:
                    return [bytes(b) for b in found.values()], "too much output"
    return [bytes(b) for b in found.values()], _waited(process, start + limits.seconds)


def _waited(process: subprocess.Popen[bytes], until: float) -> Outcome | None:
    """Code may close its streams and go on: it still has its time."""
    try:
        process.wait(max(0.01, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "timeout"
    return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the launcher; its namespace's first process dies with it, and with that one every process inside."""
    if process.poll() is None:
        process.kill()
    process.wait()


def _judged(said: list[dict], token: str, streams: list[bytes], stopped: Outcome | None, seconds: float) -> Run:
    report = {name: value for words in said for name, value in words.items()}
    if "refused" in report or ("started" not in report and stopped is None):
        step = report.get("refused") or streams[1].decode("utf-8", "replace").strip()[-300:] or "its launcher ended without a word"
        raise MachineError(
            f"this machine cannot contain untrusted code ({step}), so none was run: allow user namespaces, or leave code_tests out"
        )
    stdout, stderr = (s.decode("utf-8", "replace") for s in streams)
    code = report.get("exit")
    if stopped is not None:
        outcome: Outcome = stopped
    elif report.get("token") == token:
        outcome = "finished"
    elif code is None or code < 0:
        outcome = "killed"
    else:
        outcome = "raised" if code == 1 and stderr.strip() else "exited"
    return Run(outcome, stdout, stderr, round(seconds, 4), signal=-code if code is not None and code < 0 else 9)
