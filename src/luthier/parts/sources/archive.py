"""Archives are refused, never unpacked: the list of member names is read only to say why.

One decision: unpacking is left to the user, so no name inside an archive can ever decide where a byte is
written; unsafe names and pickles inside are named in the refusal.
"""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from luthier.core.errors import UserError

MAX_MEMBERS = 10_000
_MAX_LIST_BYTES = 4 << 20


def refuse_zip(path: Path, name: str, compressed: bool = False) -> None:
    """Always raises UserError: with the unsafe member names when there are any."""
    names = [] if compressed or _list_is_too_long(path) else _member_names(path)
    unsafe = [n for n in names if is_unsafe_name(n)]
    if unsafe:
        shown = ", ".join(repr(n[:80]) for n in unsafe[:5])
        raise UserError(
            "an archive must not reach outside its folder", f"{len(unsafe)} unsafe member name(s): {shown}", name, "nothing was unpacked"
        )
    if any(n.endswith((".pkl", "/data.pkl")) for n in names):
        raise UserError(
            "rows of data are wanted", "an unsafe pickle in a zip (a PyTorch file): it was not loaded", name, "use safetensors for weights"
        )
    raise UserError(
        "a data file is wanted", "a zip archive", name, "unpack it and name the files in it (.gz and .zst are read as they are)"
    )


def is_unsafe_name(name: str) -> bool:
    """True for a name that could leave its folder: absolute, `..`, a drive, a URL, a backslash path, a NUL."""
    if "\0" in name or "://" in name or name.startswith("~"):
        return True
    windows = PureWindowsPath(name)
    return PurePosixPath(name).is_absolute() or bool(windows.drive or windows.root) or ".." in windows.parts


def _list_is_too_long(path: Path) -> bool:
    """True when the central directory is larger than any honest data archive's (read from the last 64 KiB)."""
    with path.open("rb") as f:
        size = f.seek(0, 2)
        f.seek(max(0, size - (1 << 16) - 22))
        tail = f.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        return True
    members, length = int.from_bytes(tail[end + 10 : end + 12], "little"), int.from_bytes(tail[end + 12 : end + 16], "little")
    return members > MAX_MEMBERS or length > _MAX_LIST_BYTES


def _member_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as z:
            return [info.orig_filename for info in z.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return []  # the refusal stands without the names
