"""A process that has imported Luthier once and forks a child for every trial, each with a fault of its file system.

One decision: a child is a process like any other (it is killed with kill -9, its exit code is read); only the seconds
of importing torch are saved, so that hundreds of kills fit into minutes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "shim.c"
MODES = {"count": 0, "record": 1, "kill": 2, "tear": 3, "refuse": 4, "refuse from": 5}
NEVER = 2**60


@dataclass(frozen=True)
class Fault:
    """What happens to the `at`-th counted operation (from 1) below `root`.

    mode: count, record (into `log`), kill (before it), tear (half a write, then kill), refuse (with errno `error`, once),
    refuse from (from then on). ignore: words of paths that are not counted. kinds: counted kinds, none for all.
    """

    root: str
    mode: str = "count"
    at: int = NEVER
    error: int = 0
    ignore: tuple[str, ...] = ("lease.json",)
    kinds: tuple[str, ...] = ()
    log: str = ""


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal), how many operations it counted, seconds, what it said."""

    code: int
    counted: int
    seconds: float
    said: str


def compile_shim(folder: Path) -> Path | None:
    """The preloaded library, or None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    out = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(out), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return out


class Nursery:
    """The parent's end: `run` forks a child and waits for its end."""

    def __init__(self, shim: Path, environment: dict[str, str]) -> None:
        paths = [str(HERE), str(HERE.parent), *environment.get("PYTHONPATH", "").split(os.pathsep)]
        env = {**environment, "LD_PRELOAD": str(shim), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, str(Path(__file__).resolve()), str(shim)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def run(self, folder: Path, args: Sequence[str], fault: Fault | None = None, kill_after_s: float | None = None) -> Ended:
        """`luthier *args` in `folder`; with `kill_after_s` it is killed -9 after that time unless it has ended.

        `("do", "save", ...)` calls a function of `acts.py` with the rest instead of a verb.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"cwd": str(folder), "args": list(args), "fault": asdict(fault) if fault else None, "kill_after_s": kill_after_s}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def _serve(library: ctypes.CDLL) -> None:
    """Answer requests until the parent closes the pipe."""
    for line in sys.stdin:
        asked = json.loads(line)
        said, told = Path(asked["cwd"]) / "said.txt", Path(asked["cwd"]) / "told.json"
        told.unlink(missing_ok=True)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(library, asked, said, told)
        code = _wait(child, asked["kill_after_s"])
        seconds = time.monotonic() - began
        facts = json.loads(told.read_text()) if told.exists() else {"counted": 0, "imported": []}  # killed: it told nothing
        _import(facts["imported"])
        ended = Ended(code, facts["counted"], seconds, said.read_text(errors="replace"))
        print(json.dumps(asdict(ended)), flush=True)


def _wait(child: int, limit_s: float | None) -> int:
    until = None if limit_s is None else time.monotonic() + limit_s
    while True:
        done, status = os.waitpid(child, 0 if until is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if until is not None and time.monotonic() >= until:
            os.kill(child, signal.SIGKILL)
            until = None
        time.sleep(0.002)


def _child(library: ctypes.CDLL, asked: dict[str, Any], said: Path, told: Path) -> None:
    """Become `luthier *args`, armed; never returns."""
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(asked["cwd"])
    if asked["fault"]:
        _arm(library, Fault(**asked["fault"]))
    sys.argv = ["luthier", *asked["args"]]
    code: Any = 0
    had = set(sys.modules)
    try:
        _act(asked["args"])
    except SystemExit as err:
        code = err.code or 0
    facts = {"counted": library.counted(), "imported": sorted(set(sys.modules) - had)}
    library.arm(0, b"", b"", b"", 0, 0, -1)
    told.write_text(json.dumps(facts))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _act(args: list[str]) -> None:
    from luthier.cli.main import main

    if args[:1] != ["do"]:
        main()
    else:
        import acts

        getattr(acts, args[1])(*args[2:])


def _arm(library: ctypes.CDLL, fault: Fault) -> None:
    log = os.open(fault.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if fault.log else -1
    root = os.path.realpath(fault.root).encode()
    ignore, kinds = "|".join(fault.ignore).encode(), "|".join(fault.kinds).encode()
    mode = MODES["refuse" if fault.mode == "count" else fault.mode]
    library.arm(mode, root, ignore, kinds, ctypes.c_long(fault.at), fault.error, log)


def _import(names: list[str]) -> None:
    """Import what a child had to import, so that the next one need not. No thread may start here: children are forked."""
    for name in names:
        with contextlib.suppress(ImportError):  # a name that a package made up for itself
            importlib.import_module(name)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    _serve(ctypes.CDLL(sys.argv[1]))
    os._exit(0)
