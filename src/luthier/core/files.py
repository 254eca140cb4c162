"""Durable file writes: after a return the bytes are on disk, before it the old ones are intact.

One decision: everything that matters is written aside, fsynced and renamed, and the folder is fsynced
after the rename; a power cut leaves the old state or the new one, never a third. An error of the disk
leaves here with the path and the bytes that were to be written (`WriteRefused`): the system names neither.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.core.errors import WriteRefused

ASIDE = ".aside"


@contextmanager
def writing(path: Path, num_bytes: int | None = None) -> Iterator[None]:
    """Give an OSError inside the path and the bytes that were to be written (None: not known beforehand)."""
    try:
        yield
    except OSError as err:
        if isinstance(err, WriteRefused):
            raise
        raise WriteRefused(err, str(path), num_bytes) from err


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whose flush is somebody else's business (the store flushes a whole artifact at once)."""
    with writing(path, len(data)):
        path.write_bytes(data)


def append_bytes(path: Path, data: bytes) -> None:
    """Add to a file; what a full disk cut off stays as a torn end for the reader to drop."""
    with writing(path, len(data)), path.open("ab") as f:
        f.write(data)


def fsync_path(path: Path) -> None:
    """Flush one file or folder to disk."""
    with writing(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, each one flushed into the folder that it is in; fine when it is there."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        fsync_path(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to: it takes the place of `path` when the block ends, and goes away when it fails."""
    aside = path.with_name(f".{path.name}.{os.getpid()}{ASIDE}")
    try:
        yield aside
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def write_durable(path: Path, data: bytes) -> None:
    """Write a file and flush its bytes; its name is on disk once its folder is flushed too."""
    with writing(path, len(data)), path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: written aside, fsynced, renamed, folder fsynced."""
    make_folder(path.parent)
    with replacing(path) as aside:
        write_durable(aside, data)


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of `json_bytes`."""
    write_atomic(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Indented UTF-8 JSON with a newline at its end; NaN is refused."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


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


def remove_asides(folder: Path) -> None:
    """Delete what a `write_atomic` that was killed left below `folder`."""
    for path in folder.rglob(f".*{ASIDE}"):
        path.unlink(missing_ok=True)
