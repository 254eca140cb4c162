"""The data files of an archive on this disk (zip, tar).

One decision: unpacking is `parts.sources.unpack`, which refuses an archive as a whole; this file only picks members.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.core.keys import file_sha256
from luthier.parts.origins.contract import Fetched, Origin
from luthier.parts.sources.unpack import unpack, without_texts


class Archive(Origin):
    """A zip or tar beside the project file."""

    main: ClassVar[str] = "path"

    kind: Literal["archive"] = "archive"
    path: str = Field(min_length=1, description="a zip or tar (plain, .gz, .zst)")
    member: str = Field(default="*", description="which data files of it: a name or a pattern such as train/*.jsonl")

    def shown(self) -> str:
        return self.path if self.member == "*" else f"{self.path}: {self.member}"

    def version(self) -> str:
        return file_sha256(Path(self.path))

    def fetch(self, into: Path) -> Fetched:
        return picked(Path(self.path), into, self.member)

    def local(self, root: Path) -> str:
        return self.path

    def at(self, path: str) -> Archive:
        return self.model_copy(update={"path": path})


def picked(path: Path, into: Path, member: str = "*") -> Fetched:
    """The data files of an archive whose names fit `member`, plain texts among them only where all are. Raises UserError when none does."""
    root = into / "files"
    got = unpack(path, root)
    names = {file: file.relative_to(root).as_posix() for file in got.files}
    files = tuple(without_texts([file for file, name in names.items() if fnmatch.fnmatchcase(name, member)]))
    if not files:
        raise UserError("the archive must have such a member", member, path.name, f"it has {', '.join(list(names.values())[:8])}")
    for other in set(names) - set(files):
        other.unlink()
    left = [*got.left, *(name for file, name in names.items() if file not in files)]
    told = ", ".join(left[:5]) + (f" and {len(left) - 5:,} more" if len(left) > 5 else "")
    return Fetched(files, (f"left in the archive {path.name}: {told}",) if left else ())
