"""The edge of the process where the terminal itself is at fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from toy_project import environment

CODE = "from luthier.cli.process import guard; from luthier.core.errors import UserError\ndef verb():\n    raise UserError('a', 'b', 'c')\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_error_keeps_its_exit_code_where_stderr_takes_nothing() -> None:
    line = [
        sys.executable,
        "-c",
        CODE + "import typer\ntry:\n    guard(verb, True)\nexcept typer.Exit as end:\n    raise SystemExit(end.exit_code)",
    ]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stderr=full, stdout=subprocess.PIPE, env=environment(), check=False, text=True)
    assert done.returncode == 2
    assert '"exit_code": 2' in done.stdout
