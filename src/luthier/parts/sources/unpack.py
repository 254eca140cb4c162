"""An archive's data files, unpacked into a new folder by hand: member by member, within limits, or not at all.

One decision: every member is judged by its header before the first byte is written, only data files are written, and an archive
with anything that an honest one does not have is refused as a whole; what a damaged one had given until then is removed.
"""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luthier.core.errors import UserError
from luthier.core.files import remove_tree, writing
from luthier.parts.sources import archive, streams, tar
from luthier.parts.sources.detect import claim_of
from luthier.parts.sources.rows import Limits, Meter

LIMITS = Limits(ratio_from=16 << 20)
"""Of an archive: it may grow past 16 MiB only within `max_ratio` times its own size."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Files written (below the target folder, in the archive's order), and the names that were left in the archive."""

    files: tuple[Path, ...]
    left: tuple[str, ...]


def unpack(path: Path, into: Path, limits: Limits = LIMITS) -> Unpacked:
    """Unpack the data files of a zip or tar (plain, gz, zst) into the new folder `into`.

    Raises UserError for an archive that is unsafe, damaged, over the limits, or without a data file; nothing of it is kept then.
    """
    kind = archive.kind_of_archive(path)
    if not kind:
        raise UserError("an archive must be a zip or a tar (plain, .gz or .zst)", "other content", path.name)
    into.mkdir(mode=0o700)
    room = _Room(into, path.name, path.stat().st_size, limits)
    try:
        if kind == "zip":
            _unzip(path, room)
        else:
            _untar(path, kind.partition(".")[2], room)
        if not room.files:
            raise UserError("an archive must hold a data file", f"none among {room.members:,} members", path.name)
    except BaseException:
        remove_tree(into)
        raise
    return Unpacked(tuple(room.files), tuple(room.left))


@dataclass
class _Room:
    """What may still be written, and what has been."""

    into: Path
    archive: str
    packed_bytes: int
    limits: Limits
    members: int = 0
    written: int = 0
    files: list[Path] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)

    def refuse(self, must: str, got: str) -> UserError:
        """The refusal of the whole archive."""
        return UserError(must, got, self.archive, "nothing of it was kept")

    def admit(self, name: str, what: str, size: int, is_folder: bool) -> None:
        """Raise UserError unless the member is a plain file or folder with a safe, new name, and its size has room."""
        self.members += 1
        if self.members > archive.MAX_MEMBERS:
            raise self.refuse(f"an archive must have at most {archive.MAX_MEMBERS:,} members", "more")
        archive.refuse_names([name], self.archive)
        odd = what or archive.why_odd_name(name)
        if odd:
            raise self.refuse("an archive must hold plain files and folders alone", f"{odd}: {name[:80]!r}")
        self._claim(name, is_folder)
        self.grow(size, count=False)

    def _claim(self, name: str, is_folder: bool) -> None:
        """Every name once, and none that is a file here and a folder there."""
        same = archive.folded(name)
        parents = {archive.folded("/".join(name.split("/")[:i])) for i in range(1, name.rstrip("/").count("/") + 1)}
        if (
            self._seen.get(same, "") == "file"
            or (not is_folder and same in self._seen)
            or any(self._seen.get(p) == "file" for p in parents)
        ):
            raise self.refuse("member names must differ (case and Unicode form aside)", f"{name[:80]!r} a second time")
        self._seen[same] = "folder" if is_folder else "file"
        self._seen.update(dict.fromkeys(parents, "folder"))

    def grow(self, size: int, count: bool = True) -> None:
        """Raise UserError when `size` more bytes are beyond all reason for an archive of this size."""
        total = self.written + size
        if total > self.limits.ratio_from and total > self.limits.max_ratio * max(self.packed_bytes, 1):
            must = f"an archive must not expand more than {self.limits.max_ratio} times"
            raise self.refuse(must, f"at least {total:,} bytes from {self.packed_bytes:,}")
        self.written += size if count else 0

    def write(self, name: str, pieces: Iterator[bytes]) -> None:
        """Write a data file below the folder, anew; any other file is passed over, still within the limits."""
        if not _is_data(name):
            self.left.append(name)
            for piece in pieces:
                self.grow(len(piece))
            return
        target = self.into / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with writing(target), os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as f:
            for piece in pieces:
                self.grow(len(piece))
                f.write(piece)
        self.files.append(target)


def without_texts(files: Sequence[Path]) -> list[Path]:
    """The files but for plain texts (a README, a licence) that lie beside rows of another format; texts alone all stay."""
    return [f for f in files if claim_of(f.name).format != "text"] or list(files)


def _is_data(name: str) -> bool:
    """A data file by its name; not what macOS adds beside each (`__MACOSX/._rows.csv`)."""
    parts = name.split("/")
    return bool(claim_of(parts[-1]).format) and not any(p == "__MACOSX" or p.startswith("._") for p in parts)


def _unzip(path: Path, room: _Room) -> None:
    """The whole list is judged before the first member is read."""
    if archive.list_is_too_long(path):
        raise room.refuse(f"a zip must have a list of at most {archive.MAX_MEMBERS:,} members", "a longer or damaged one")
    try:
        opened = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as err:
        if isinstance(err, OSError) and err.errno != errno.EINVAL:  # a place before the file's beginning
            raise
        raise room.refuse("the zip must be readable", f"damaged data: {str(err)[:200]}") from None
    with opened:
        infos = opened.infolist()
        archive.refuse_names([i.orig_filename for i in infos], room.archive)
        declared = sum(i.file_size for i in infos)
        for info in infos:
            room.admit(info.orig_filename, archive.what_zip_member(info), declared, info.is_dir())
        if archive.overlapping(infos):
            raise room.refuse("members of a zip must not overlap", "two that share bytes")
        for info in (i for i in infos if not i.is_dir()):
            room.write(info.orig_filename, archive.zip_bytes(opened, info, room.archive))


def _untar(path: Path, compression: str, room: _Room) -> None:
    """Read twice: every header is judged before the first member is written."""
    names: list[str] = []
    for header, _ in _members(path, compression, room):
        what = tar.KINDS.get(header.kind, "" if header.kind in "05" else f"a member of unknown kind {header.kind!r}")
        name = header.name.removeprefix("./")
        if header.kind != "5" or name not in ("", "."):
            room.admit(name, what, header.size, header.kind == "5")
        names.append(name)
    for name, (header, pieces) in zip(names, _members(path, compression, room), strict=True):
        if header.kind == "0":
            room.write(name, pieces)


def _members(path: Path, compression: str, room: _Room) -> Iterator[tuple[tar.Header, Iterator[bytes]]]:
    chunks = streams.file_chunks(path, Meter(0))
    if compression:
        chunks = streams.decompress(chunks, compression, path.name, room.limits)
    return tar.members(tar.Blocks(chunks, path.name))
