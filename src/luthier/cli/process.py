"""The edge of the process: errors become one message and an exit code, Ctrl-C becomes a saved stop.

One decision: this is the only place that catches everything; what is not one of our errors is our fault
(exit code 3), and its traceback goes to a file that the message names.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import pydantic
import typer

from luthier.core.errors import LuthierError, from_os_error


class StopFlag:
    """Set by the first Ctrl-C; the second one ends the process at once."""

    def __init__(self) -> None:
        self.is_set = False

    def __call__(self) -> bool:
        return self.is_set

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
        print("\nstopping: saving what is needed to go on (Ctrl-C again to end at once)", file=sys.stderr)  # noqa: T201


@contextmanager
def stoppable() -> Iterator[StopFlag]:
    """SIGINT and SIGTERM ask for a saved stop while the context is open."""
    flag = StopFlag()
    before = {number: signal.signal(number, flag.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """A line for people (stderr; stdout belongs to `--json` and to answers).

    Where stderr itself takes nothing (its disk is full, its reader has gone) there is nobody to tell: the work and its exit code go on.
    """
    with suppress(OSError):
        print(text, file=sys.stderr)  # noqa: T201


def emit(document: pydantic.BaseModel) -> None:
    """The one machine-readable document of `--json`, on stdout."""
    print(document.model_dump_json(indent=2))  # noqa: T201


def guard(verb: Callable[[], int], as_json: bool) -> None:
    """Run a verb and leave with its exit code; every error becomes one message."""
    try:
        code = verb()
    except LuthierError as err:
        _report(err, as_json)
        code = err.exit_code
    except KeyboardInterrupt:
        say("ended at once; run the same command again to go on from the last saved point")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as err:
        wrapped = from_os_error(err, "working")
        _report(wrapped, as_json)
        code = wrapped.exit_code
    except Exception as err:  # noqa: BLE001 - the process edge
        code = _our_fault(err, as_json)
    raise typer.Exit(code)


def _our_fault(err: Exception, as_json: bool) -> int:
    with tempfile.NamedTemporaryFile("w", prefix="luthier-", suffix=".log", delete=False) as f:
        traceback.print_exception(err, file=f)
    _report(LuthierError(f"this is a fault of Luthier's: {type(err).__name__}: {err}; the details are in {f.name}"), as_json)
    return 3


def _report(err: LuthierError, as_json: bool) -> None:
    say(f"error: {err}")
    if as_json:
        body = {"kind": "error", "version": 1, "error": type(err).__name__, "message": str(err), "exit_code": err.exit_code}
        print(json.dumps(body, indent=2, ensure_ascii=False))  # noqa: T201
