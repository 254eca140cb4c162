"""A subject to prove on: the toy project before any run, and the finished one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unwatched import options

from luthier.pipeline.doctor.project import open_project, open_subject
from luthier.pipeline.doctor.subject import Subject
from toy_project import write_toy


@pytest.fixture(scope="session")
def untrained_file(tmp_path_factory: pytest.TempPathFactory, learner_base: Path) -> Path:
    """The toy project, never run."""
    return write_toy(tmp_path_factory.mktemp("untrained") / "toy", learner_base)


@pytest.fixture
def untrained_subject(untrained_file: Path) -> Iterator[Subject]:
    workspace, name = open_project(untrained_file, (), None)
    with open_subject(workspace, name, options()) as subject:
        yield subject


@pytest.fixture
def trained_subject(finished_toy: Path) -> Iterator[Subject]:
    workspace, name = open_project(finished_toy / "luthier.yaml", (), "1")
    with open_subject(workspace, name, options()) as subject:
        yield subject
