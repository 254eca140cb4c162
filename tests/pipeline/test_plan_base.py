"""`luthier plan` says that a base cannot be found before anything is read or fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.pipeline.plan import advice
from luthier.pipeline.workspace import Workspace
from toy_project import write_toy


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("smollm2-135m-instrct", "smollm2-135m-instruct"),
        ("./no-such-folder", "is not there"),
        ("missing.gguf", "is not there"),
    ],
)
def test_a_base_that_cannot_be_is_said(tmp_path: Path, base: str, said: str) -> None:
    file = write_toy(tmp_path / "toy", tmp_path)
    (line,) = [words for words in advice(Workspace.open(file, (f"base={base}",))) if "a run would stop at once" in words]
    assert said in line
