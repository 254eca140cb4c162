"""A lease on a piece of work: one builder at a time, and everybody else can see who it is.

One decision: exclusion rests on flock, which the kernel drops when the holder dies, even by kill -9; the
JSON beside it (owner, process, heartbeat) is for people and never decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from luthier.core.errors import LeaseHeld, from_os_error
from luthier.core.files import write_json

HEARTBEAT_S = 5.0


class Lease:
    """Exclusive use of `<path>.lock` while the context is open. Raises LeaseHeld when another has it."""

    def __init__(self, path: Path, what: str) -> None:
        self.lock_path, self.info_path, self.what = path.with_suffix(".lock"), path.with_suffix(".lease.json"), what
        self._file: IO[str] | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        try:
            self.lock_path.parent.mkdir(parents=True, exist_ok=True)
            file = self.lock_path.open("a")
        except OSError as err:
            raise from_os_error(err, f"taking the lease of {self.what}") from err
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise LeaseHeld(self.held_by()) from None
        try:
            self._beat()
        except OSError as err:
            file.close()
            raise from_os_error(err, f"taking the lease of {self.what}") from err
        self._file = file
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        self.info_path.unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()

    def held_by(self) -> str:
        """One sentence: who holds the lease, since when, and what to do."""
        info = read_lease(self.info_path)
        if not info:
            return f"{self.what} is being built by another process; wait for it with --wait"
        age_s = max(0.0, time.time() - float(info["heartbeat"]))
        who = f"process {info['pid']} of {info['user']} on {info['host']}"
        return f"{self.what} is being built by {who}, started {info['started']}, last heartbeat {age_s:.0f} s ago; wait for it with --wait"

    def _keep_beating(self) -> None:
        while not self._done.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # a full disk: the heartbeat that people see grows old, the lease itself holds
                self._beat()

    def _beat(self) -> None:
        if not hasattr(self, "_info"):
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            self._info: dict[str, Any] = {"user": _user(), "host": socket.gethostname(), "pid": os.getpid(), "started": started}
        write_json(self.info_path, {**self._info, "heartbeat": time.time()})


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def read_lease(path: Path) -> dict[str, Any]:
    """The holder's facts, or {} when nobody has written any."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def acquire(path: Path, what: str, wait: bool, poll_s: float = 0.5) -> Lease:
    """An entered Lease; with `wait` this blocks until the holder is done, else LeaseHeld is raised."""
    while True:
        try:
            return Lease(path, what).__enter__()
        except LeaseHeld:
            if not wait:
                raise
            time.sleep(poll_s)
