"""Shared fixtures: offline by default, and the real data when the checkout has it beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # toy models: threads only get in each other's way
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of the hundreds of processes below compiles the package again

REPO = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("LUTHIER_SHARED", REPO.parent / "shared"))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets and broken inputs; skips, visibly, where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not present at {folder} (set LUTHIER_SHARED)")
    return folder


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a two-layer random llama with a real 300-entry tokenizer and a ChatML template (read-only by agreement)."""
    from toy_models import make_toy_base

    return make_toy_base(tmp_path_factory.mktemp("toy") / "toy-llama")


@pytest.fixture(scope="session")
def learner_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy base that can learn the toy project (read-only by agreement)."""
    from toy_project import make_learner

    return make_learner(tmp_path_factory.mktemp("toy") / "learner")


@pytest.fixture(scope="session")
def finished_toy(tmp_path_factory: pytest.TempPathFactory, learner_base: Path) -> Path:
    """The folder of the toy project after one whole `luthier run` of the command line (read-only by agreement)."""
    from toy_project import luthier, write_toy

    folder = tmp_path_factory.mktemp("finished") / "toy"
    write_toy(folder, learner_base, watch={})
    done = luthier(folder, "run", "--json")
    assert done.returncode == 0, done.stderr
    (folder / "first.json").write_text(done.stdout, encoding="utf-8")
    return folder
