"""Durable file writes: after a return the bytes are on disk, before it the old ones are intact.

One decision: everything that matters is written aside, fsynced and renamed, and the folder is fsynced
after the rename; a power cut leaves the old state or the new one, never a third.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def fsync_path(path: Path) -> None:
    """Flush one file or folder to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: written aside, fsynced, renamed, folder fsynced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    try:
        with aside.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of indented UTF-8 JSON; NaN is refused."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def files_below(folder: Path) -> Iterator[Path]:
    """Every regular file below `folder`, sorted by relative path."""
    yield from sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def fsync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, then the folder itself."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            fsync_path(path)
    fsync_path(folder)


def make_read_only(folder: Path) -> None:
    """Take write permission from every file below `folder`."""
    for path in files_below(folder):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def remove_tree(folder: Path) -> None:
    """Delete a folder, read-only files included; a missing one is fine."""
    if folder.exists():
        shutil.rmtree(folder)
