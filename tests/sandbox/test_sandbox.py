"""Hostile code is contained and reported, harmless code runs, and a machine that lacks a wall runs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.core.errors import MachineError
from luthier.sandbox import Limits, Run, run, run_python

PATIENT = Limits(seconds=60.0, cpu_seconds=1, memory_mb=256, work_mb=4, output_bytes=4096)
SHORT = replace(PATIENT, seconds=1.0)


def go(*programs: str, stdin: str = "", limits: Limits = PATIENT) -> Run:
    try:
        return run_python(programs, stdin, limits)
    except MachineError as err:
        pytest.skip(f"no sandbox on this machine: {err}")


def test_programs_share_names_and_read_their_input() -> None:
    done = go("import sys\nname = sys.stdin.read()", "print(f'hello {name}', end='')", stdin="Ada")
    assert (done.outcome, done.stdout, done.stderr) == ("finished", "hello Ada", "")


def test_the_standard_library_works() -> None:
    names = "asyncio, json, re, random, decimal, datetime, collections, sqlite3, hashlib, statistics, tempfile, unittest, uuid, csv, ctypes"
    body = "async def f():\n    await asyncio.sleep(0.001)\n    return 5\nassert asyncio.run(f()) == 5"
    done = go(f"import {names}\n{body}\nopen(tempfile.mkstemp()[1], 'w').write('x')\nsqlite3.connect('a.db').execute('create table t(a)')")
    assert done.outcome == "finished", done.stderr


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nwhile True: os.fork()", "PermissionError"),
        ("import subprocess\nsubprocess.run(['/bin/ls'])", "PermissionError"),
        ("import os\nos.execv('/bin/sh', ['sh'])", "PermissionError"),
        ("import threading\nwhile True: threading.Thread(target=print).start()", "can't start new thread"),
        ("import multiprocessing\nmultiprocessing.Process(target=print).start()", "PermissionError"),
        ("open('/etc/passwd').read()", "No such file"),
        ("open('/proc/self/environ').read()", "No such file"),
        ("open('/work/../../../../etc/shadow').read()", "No such file"),
        ("open('/usr/lib/planted', 'w')", "Read-only file system"),
        ("open('/planted', 'w')", "Read-only file system"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 80))", "PermissionError"),
        ("import socket\nsocket.socket(socket.AF_UNIX).bind('s')", "PermissionError"),
        ("import urllib.request\nurllib.request.urlopen('http://192.0.2.1')", "Operation not permitted"),
        ("hold = []\nwhile True: hold.append(bytearray(10**7))", "MemoryError"),
        ("f = open('big', 'wb')\nwhile True: f.write(b'x' * 10**6)", "File too large"),
        ("for i in range(99): open(f'f{i}', 'wb').write(b'x' * 10**6)", "No space left"),
        ("import os\nos.kill(os.getppid(), 9)\nos.kill(1, 9)\nraise ValueError('still here')", "still here"),
        ("import os\nos.chmod('/usr/lib', 0o777)", "Read-only file system"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("def f(x) return x", "SyntaxError"),
    ],
)
def test_hostile_code_is_contained_and_its_end_reported(code: str, reason: str) -> None:
    done = go(code)
    assert done.outcome == "raised", done
    assert reason in done.reason


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("while True: pass", "killed", "killed by SIGXCPU"),
        ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "killed", "killed by SIGKILL"),
        ("import time\ntime.sleep(60)", "timeout", "timeout"),
        ("import os, time\nos.close(1); os.close(2)\ntime.sleep(60)", "timeout", "timeout"),
        ("while True: print('x' * 1000)", "too much output", "too much output"),
        ("import os\nos._exit(0)", "exited", "exited"),
        ("import sys\nsys.exit(0)", "exited", "exited"),
        ("import ctypes\nctypes.string_at(0)", "killed", "killed by SIGSEGV"),
        ("import os\nos.abort()", "killed", "killed by SIGABRT"),
    ],
)
def test_endless_noisy_and_fleeing_code_ends(code: str, outcome: str, reason: str) -> None:
    done = go(code, limits=SHORT if outcome == "timeout" else PATIENT)
    assert (done.outcome, done.reason) == (outcome, reason)


def test_raw_system_calls_are_refused() -> None:
    body = "import ctypes\nc = ctypes.CDLL(None)\n"
    calls = "c.unshare(0x10000000), c.mount(None, b'/', None, 0, None), c.ptrace(0, 1, 0, 0), c.memfd_create(b'm', 0), c.shmget(1, 9, 512)"
    done = go(body + f"print(({calls}))")
    assert done.stdout.strip() == "(-1, -1, -1, -1, -1)"


def test_secrets_of_the_environment_and_open_files_stay_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CANARY", "hunter2")
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    with secret.open() as held:
        os.set_inheritable(held.fileno(), True)
        done = go(
            "import os\nfound = dict(os.environ)\n"
            "for fd in range(3, 256):\n    try: found[fd] = os.read(fd, 100)\n    except OSError: pass\n"
            f"print(found, os.path.exists({str(secret)!r}), os.listdir('/work'))"
        )
    assert "hunter2" not in done.stdout + done.stderr
    assert done.stdout.strip().endswith("False []")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    go("open('/tmp/planted', 'w').write('x')")
    go("import time\ntime.sleep(60)", limits=SHORT)
    assert list(tmp_path.iterdir()) == []


def test_the_parent_and_its_other_runs_live_on() -> None:
    found: list[Run] = []
    threads = [threading.Thread(target=lambda i=i: found.append(go(f"import os, signal\nos.kill(-1, 9)\nprint({i})"))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(r.outcome in ("raised", "finished") for r in found)


def test_code_dies_with_the_process_that_asked(tmp_path: Path) -> None:
    go("pass")
    script = (
        "from luthier.sandbox import Limits, run_python\n"
        "run_python(('import time\\nwhile True: time.sleep(0.01)',), limits=Limits(seconds=300, cpu_seconds=200))"
    )
    asked = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (inside := _children(asked.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert inside
    time.sleep(0.5)
    inside = _children(asked.pid)
    asked.kill()
    asked.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in inside) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in inside)


def _children(pid: int) -> list[int]:
    """Every process below `pid`."""
    try:
        own = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return own + [c for p in own for c in _children(p)]


def test_a_machine_without_a_wall_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = Path(run.__file__).with_name("launcher.py").read_text()
    for wall, broken in (
        ('"libseccomp.so.2"', '"libnone.so.9"'),
        ('call(libc, "unshare", NEW_NAMESPACES)', 'raise Refused("unshare: Operation not permitted")'),
        ("seccomp.seccomp_load(context)", "-22"),
        ('call(libc, "syscall", PIVOT_ROOT[machine], b".", b".")', 'call(libc, "chdir", b"/nowhere")'),
    ):
        assert wall in body
        (tmp_path / "launcher.py").write_text(body.replace(wall, broken))
        monkeypatch.setattr(run, "__file__", str(tmp_path / "run.py"))
        with pytest.raises(MachineError, match=r"this machine cannot contain untrusted code \(.+\), so none was run"):
            run_python((f"open({str(tmp_path / 'ran')!r}, 'w')",), limits=SHORT)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(MachineError, match="this is darwin"):
        run_python(("pass",))
    assert not (tmp_path / "ran").exists()
