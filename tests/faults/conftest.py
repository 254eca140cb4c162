"""The process that trials are forked from, once per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nursery import Nursery, compile_shim

from toy_project import environment


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Forks children with faults of the file system; skips, visibly, where there is no C compiler."""
    shim = compile_shim(tmp_path_factory.mktemp("shim"))
    if shim is None:
        pytest.skip("no C compiler: file operations cannot be counted")
    with Nursery(shim, environment()) as running:
        yield running
