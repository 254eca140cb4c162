"""Light at the top: nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from toy_project import environment

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "sqlalchemy",
    "alembic",
    "pyarrow",
    "scipy",
    "altair",
    "sklearn",
    "pandas",
    "tokenizers",
    "safetensors",
    "cleanlab",
    "textual",
)
HELP = "import sys; sys.argv = ['luthier', '--help']; from luthier.cli.main import main\ntry:\n    main()\nexcept SystemExit: pass"
PROJECT = "from pathlib import Path; from luthier.pipeline.project import load_project; load_project(Path('luthier.yaml'))"
LOAD = "import luthier; luthier.load('luthier.yaml')"


@pytest.mark.parametrize("code", ["import luthier", HELP, PROJECT, LOAD], ids=["import", "help", "validation", "load"])
def test_nothing_heavy_is_imported(finished_toy: Path, code: str) -> None:
    check = f"{code}\nimport sys\nfound = [m for m in {HEAVY!r} if m in sys.modules]\nassert not found, found"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=finished_toy, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", [[], ["run"], ["data"], ["data", "check"], ["models"], ["chat"], ["compare"]])
def test_every_verb_explains_itself(verb: list[str]) -> None:
    from typer.testing import CliRunner

    from luthier.cli.main import app

    done = CliRunner().invoke(app, [*verb, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output
