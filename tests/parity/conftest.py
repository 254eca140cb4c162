"""Toy model folders for the parity gates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from toys import save_toy


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """family -> a saved toy model."""
    root, made = tmp_path_factory.mktemp("toys"), {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = save_toy(root / family, family)
        return made[family]

    return folder
