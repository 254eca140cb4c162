"""What an archive is and which names inside it are safe; the list of a zip, read within bounds.

One decision: no name inside an archive decides where a byte is written unless it stays below its folder on every system; an
archive with one name or member that does not is refused as a whole, and says which.
"""

from __future__ import annotations

import errno
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath

from luthier.core.errors import UserError
from luthier.parts.sources import detect, streams
from luthier.parts.sources.rows import Limits, Meter

MAX_MEMBERS = 10_000
MAX_DEPTH = 16
MAX_NAME_BYTES, MAX_PART_BYTES = 1000, 255
_MAX_LIST_BYTES = 4 << 20
_RESERVED = {"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10))}
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")


def kind_of_archive(path: Path) -> str:
    """`zip`, `tar`, `tar.gz`, `tar.zst`, or "" for a file that is none, from its first bytes. Raises OSError, UserError."""
    head, chunks = streams.peek(streams.file_chunks(path, Meter(0)), streams.CHUNK)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    compression = detect.compression_of(head)
    if compression:
        head, _ = streams.peek(streams.decompress(chunks, compression, path.name, Limits()), 512)
    if len(head) < 512 or head[257:262] != b"ustar":
        return ""
    return f"tar.{compression}" if compression else "tar"


def refuse_zip(path: Path, name: str, compressed: bool = False) -> None:
    """Always raises UserError, for a zip where one file of rows is wanted: with the unsafe member names when there are any."""
    names = [] if compressed else [] if list_is_too_long(path) else _member_names(path)
    refuse_names(names, name)
    raise UserError(
        "a data file is wanted", "a zip archive", name, "unpack it and name the files in it (.gz and .zst are read as they are)"
    )


def refuse_names(names: list[str], archive: str) -> None:
    """Raise UserError for member names that could leave their folder, and for pickles."""
    unsafe = [n for n in names if is_unsafe_name(n)]
    if unsafe:
        shown = ", ".join(repr(n[:80]) for n in unsafe[:5])
        raise UserError(
            "an archive must not reach outside its folder", f"{len(unsafe)} unsafe member name(s): {shown}", archive, "nothing was unpacked"
        )
    if any(n.lower().endswith(PICKLES) for n in names):
        raise UserError(
            "rows of data are wanted", "an unsafe pickle in an archive: it was not loaded", archive, "use safetensors for weights"
        )


def is_unsafe_name(name: str) -> bool:
    """True for a name that could leave its folder: absolute, `..`, a drive, a URL, a backslash path, a NUL."""
    if "\0" in name or "://" in name or name.startswith("~"):
        return True
    windows = PureWindowsPath(name)
    return PurePosixPath(name).is_absolute() or bool(windows.drive or windows.root) or ".." in windows.parts


def why_odd_name(name: str) -> str:
    """Why a name that stays in its folder is still refused: it cannot be written alike on every system, or deceives a reader."""
    parts = PurePosixPath(name).parts
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        return "control or invisible characters"
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES or any(
        len(p.encode("utf-8", "replace")) > MAX_PART_BYTES for p in parts
    ):
        return f"a name longer than {MAX_NAME_BYTES:,} bytes, or a part of it longer than {MAX_PART_BYTES}"
    if len(parts) > MAX_DEPTH:
        return f"more than {MAX_DEPTH} folders deep"
    if not parts or any(p.endswith((" ", ".")) or ":" in p or "\\" in p or p.split(".")[0].lower() in _RESERVED for p in parts):
        return "a name that not every system can write"
    return ""


def folded(name: str) -> str:
    """Names with the same value are one file on some system (case, Unicode form)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFD", str(PurePosixPath(name))).casefold())


def list_is_too_long(path: Path) -> bool:
    """True when the list of a zip is longer than any honest data archive's, by any of the records that a reader may believe."""
    with path.open("rb") as f:
        size = f.seek(0, 2)
        begin = max(0, size - (1 << 16) - 22 - 76)
        f.seek(begin)
        tail = f.read()
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or len(tail) < end + 22:
            return True
        told = [(_little(tail, end + 10, 2), _little(tail, end + 12, 4))]
        if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):  # the locator of a 64-bit record, which readers believe first
            f.seek(max(0, min(size - 56, _little(tail, end - 12, 8))))
            told = [(_little(record, 32, 8), _little(record, 40, 8)) for record in (f.read(56),) if record.startswith(b"PK\x06\x06")]
            at = tail.rfind(b"PK\x06\x06", 0, end - 20)
            told += [(_little(tail, at + 32, 8), _little(tail, at + 40, 8))] if at >= 0 else []
    return not told or any(members > MAX_MEMBERS or length > _MAX_LIST_BYTES for members, length in told)


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _member_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as z:
            return [info.orig_filename for info in z.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return []  # the refusal stands without the names


def what_zip_member(info: zipfile.ZipInfo) -> str:
    """Why a member is no plain file or folder, or cannot be read: a link, a device, encrypted, packed in another way; else ""."""
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a symbolic link" if stat.S_ISLNK(mode) else "a device or pipe"
    if info.flag_bits & 0x1:
        return "an encrypted member"
    return "" if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else "a member packed by a rare method"


def overlapping(infos: list[zipfile.ZipInfo]) -> bool:
    """True when two members share bytes of the file, as in bombs that count the same bytes many times."""
    spans = sorted((i.header_offset, i.header_offset + i.compress_size) for i in infos)
    return any(second[0] < first[1] or second[0] == first[0] for first, second in pairwise(spans))


def zip_bytes(opened: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    """The bytes of one member, checked against its checksum. Raises UserError when it is damaged."""
    import zlib

    try:
        with opened.open(info) as f:
            while piece := f.read(streams.CHUNK):
                yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as err:
        if isinstance(err, OSError) and err.errno != errno.EINVAL:  # a place before the file's beginning
            raise
        raise UserError(
            "each member of a zip must be whole", f"{info.filename[:80]!r}: {str(err)[:200]}", name, "fetch or write it again"
        ) from None
