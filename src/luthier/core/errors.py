"""The error family: what went wrong, where, and what to do about it.

One decision: an error's class fixes the exit code of the command line (0 done, 1 the answer is no,
2 the user's input is wrong, 3 our fault or the machine's), so no verb chooses codes by itself.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable


class LuthierError(Exception):
    """Base of every error that reaches a user as one message. `exit_code` is the process's exit code."""

    exit_code = 3


class UserError(LuthierError, ValueError):
    """The user's input is wrong (exit code 2).

    Built from the four things a person needs: what must hold, what was given, where, and the nearest
    right answer: `` `rank >= 1` must hold, got rank=0 (train.method.rank); use rank=16 ``.
    """

    exit_code = 2

    def __init__(self, must: str, got: object = None, where: str = "", fix: str = "") -> None:
        self.must, self.got, self.where, self.fix = must, got, where, fix
        text = must if got is None else f"{must}, got {got}"
        if where:
            text += f" ({where})"
        if fix:
            text += f"; {fix}"
        super().__init__(text)


class AnswerIsNo(LuthierError):
    """A check was carried out and its answer is no: leakage found, a bar not met (exit code 1)."""

    exit_code = 1


class MachineError(LuthierError):
    """Disk full, no permission, a library missing: nothing the project file could change (exit code 3)."""

    exit_code = 3


class CorruptArtifact(MachineError):
    """Stored bytes differ from their record. The message names the file and how to rebuild it."""


class Interrupted(MachineError):
    """Ctrl-C was pressed and everything needed to go on is saved."""

    exit_code = 130


class LeaseHeld(MachineError):
    """Another process is building the same key. The message says who, since when, and how to wait."""


class EngineRefused(UserError):
    """A fast path was asked for that cannot give the exact result; the message says why."""


class WriteRefused(OSError):
    """The system refused a write to `filename`; `needed` is how many bytes it was for, None when that was not known."""

    def __init__(self, err: OSError, path: str, needed: int | None) -> None:
        super().__init__(err.errno, err.strerror or str(err), err.filename or path)
        self.needed = needed


def nearest(word: str, known: Iterable[str], n: int = 1) -> list[str]:
    """The `n` known words closest to `word` (difflib ratio >= 0.5), best first."""
    return difflib.get_close_matches(word, list(known), n=n, cutoff=0.5)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A fix such as ``did you mean `rank`?``, or the list of known words when none is close."""
    choices = list(known)
    close = nearest(word, choices)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known: " + ", ".join(sorted(choices)) if choices else ""


def from_os_error(err: OSError, doing: str) -> LuthierError:
    """An OSError in words: disk full, no permission, or a missing path, with the path it happened at."""
    path = f" {err.filename}" if err.filename else ""
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "free some space and run the same command again; nothing finished is lost"
        return MachineError(f"disk full while {doing}{path}: {_bytes_needed(err)}{fix}")
    if err.errno == errno.EIO:
        fix = "check the disk (`dmesg`), then run the same command again; nothing finished is lost"
        return MachineError(f"the disk failed (input/output error) while {doing}{path}: {fix}")
    if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MachineError(f"no permission while {doing}{path}: make the folder writable or choose another one")
    if err.errno == errno.ENOENT:
        return UserError("the path must exist", err.filename, doing)
    return MachineError(f"{err.strerror or err} while {doing}{path}")


def _bytes_needed(err: OSError) -> str:
    """What a refused write asks of the disk; a size that nobody knew is at least one block."""
    place = os.path.abspath(err.filename or ".")
    while not os.path.exists(place):
        place = os.path.dirname(place)
    disk = os.statvfs(place)
    needed = getattr(err, "needed", None)
    asked = f"{needed:,} bytes are needed" if needed else f"at least {disk.f_frsize:,} bytes are needed"
    return f"{asked}, {disk.f_bavail * disk.f_frsize:,} are free; "
