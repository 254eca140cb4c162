"""Bringing an origin's files to this disk, kept by the hash of their bytes.

One decision: a source is looked at again every time: when it says that it has not changed, or is fetched and has the same bytes, the
same files are used and nothing downstream is built anew; other bytes lie beside the old ones, so a run that began keeps its rows.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.core.files import fsync_tree, make_folder, remove_tree, write_json
from luthier.core.keys import digest, file_sha256
from luthier.parts.origins.archive import picked
from luthier.parts.origins.contract import Fetched, Origin
from luthier.parts.sources.archive import kind_of_archive

RECORD = "source.json"


@dataclass(frozen=True, slots=True)
class Brought:
    """Data files on this disk, in order, and what a person should know about how they were made."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def bring(origin: Origin, home: Path) -> Brought:
    """The files of `origin` below `home`, fetched unless it says that it has not changed. Raises what `fetch` raises."""
    folder = home / digest({"kind": type(origin).__name__, "fields": origin.model_dump(mode="json")})[:16]
    version = origin.version()
    known = _record(folder)
    if version and known.get("version") == version and _is_whole(folder, known):
        return _brought(folder, known)
    new = folder / f".new-{os.getpid()}"
    remove_tree(new)
    make_folder(new)
    try:
        fetched = expanded(origin.fetch(new), new)
        files = [{"name": f.relative_to(new).as_posix(), "sha256": file_sha256(f), "bytes": f.stat().st_size} for f in fetched.files]
        content = digest({"files": files})[:16]
        fsync_tree(new)
        if not (folder / content).exists():
            new.rename(folder / content)
    finally:
        remove_tree(new)
    body = {"source": origin.model_dump(mode="json"), "version": version, "content": content, "files": files, "notes": list(fetched.notes)}
    write_json(folder / RECORD, body)
    if not _is_whole(folder, body):
        remove_tree(folder / content)
        raise UserError("fetched files must not be changed", str(folder / content), fix="they were removed; run the same command again")
    return _brought(folder, body)


def expanded(fetched: Fetched, folder: Path) -> Fetched:
    """The files with each archive among them replaced by its data files."""
    files: list[Path] = []
    notes = list(fetched.notes)
    for number, file in enumerate(fetched.files):
        if not kind_of_archive(file):
            files.append(file)
            continue
        into = folder / f"archive-{number}"
        make_folder(into)
        got = picked(file, into)
        file.unlink()
        files += got.files
        notes += got.notes
    return Fetched(tuple(files), tuple(notes))


def _record(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _is_whole(folder: Path, record: dict[str, Any]) -> bool:
    """True when every file is there with the bytes that it had."""
    paths = [(folder / record["content"] / f["name"], f["sha256"]) for f in record["files"]]
    return all(path.is_file() and file_sha256(path) == sha256 for path, sha256 in paths)


def _brought(folder: Path, record: dict[str, Any]) -> Brought:
    return Brought(tuple(folder / record["content"] / f["name"] for f in record["files"]), tuple(record["notes"]))
