"""Writing small files and reading them back as items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.parts.sources.rows import BadRow, Item, Limits, RawRow
from luthier.parts.sources.source import open_rows


class Reading:
    """All of one file: its format, rows, bad rows (place -> reason) and changes."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        opened = open_rows(path, limits)
        items: list[Item] = list(opened.items)
        self.format = opened.format
        self.rows = [i for i in items if isinstance(i, RawRow)]
        self.bad = {i.at: i.reason for i in items if isinstance(i, BadRow)}
        self.changes = [c.reason for c in opened.changes] + [i.reason for i in items if not isinstance(i, (RawRow, BadRow))]
        self.meter = opened.meter


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Reading]:
    """read(name, content, limits=None): write a file and read it."""

    def run(name: str, content: bytes | str, limits: Limits | None = None) -> Reading:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return Reading(path, limits)

    return run
