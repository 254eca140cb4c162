"""The folder of converted models: written aside, fsynced, renamed; checked by a manifest of sha256s.

One decision: a folder is either complete and equal to its manifest or it does not count. `luthier.json` beside the
weights remembers size, time and sha256 of each file, so a later look costs milliseconds; `verify` reads every byte.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier.core.errors import CorruptArtifact, from_os_error
from luthier.core.files import fsync_path, fsync_tree

MANIFEST = "luthier.json"
_READ = 1 << 20
_SETTLED_NS = 2_000_000_000  # a file changed less than this before its reading may change again within one clock tick


def cache_root(cache: Path | None = None) -> Path:
    """`cache`, else `$LUTHIER_CACHE`, else `~/.cache/luthier`."""
    if cache is not None:
        return cache
    named = os.environ.get("LUTHIER_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "luthier"


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(_READ):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` (created if absent); waits for another process that holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    except OSError as err:
        raise from_os_error(err, "locking the model cache at") from None
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def publish(folder: Path, facts: dict[str, Any], write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder aside, add the manifest with `facts`, make it durable, and rename it to `folder`.

    Nothing is left behind when it fails; what a killed process left behind is removed. Call with the lock held.
    Raises MachineError on a full disk or a folder that cannot be written.
    """
    aside = f".aside-{folder.name}-"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for old in folder.parent.glob(aside + "*"):
            shutil.rmtree(old)
        work = Path(tempfile.mkdtemp(prefix=aside, dir=folder.parent))
        try:
            write(work)
            write_manifest(work, facts)
            _open_to_readers(work)
            fsync_tree(work)
            if folder.exists():
                shutil.rmtree(folder)
            work.rename(folder)
            fsync_path(folder.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as err:
        raise from_os_error(err, "writing the model cache at") from None


def _open_to_readers(folder: Path) -> None:
    """Temporary folders are private to their owner; a shared cache is not."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write `luthier.json`: the facts, and size, time (ns) and sha256 of each file."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        stat = path.stat()
        files[path.relative_to(folder).as_posix()] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_file(path)}
    text = json.dumps({**facts, "format": 1, "files": files}, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path, *, verify: bool = False) -> dict[str, Any]:
    """The manifest of a cached model, after checking the folder against it.

    Files of unchanged size and time are taken as they were; changed ones, small ones (under 1 MB), and all with
    `verify`, are hashed again. Raises CorruptArtifact with the file and how to rebuild.
    """
    fix = f"remove {folder} and pull the model again"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        entries = {str(name): (int(e["size"]), int(e["mtime_ns"]), str(e["sha256"])) for name, e in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise CorruptArtifact(
            f"the manifest of the cached model cannot be read: {type(err).__name__} ({folder / MANIFEST}); {fix}"
        ) from None
    for name, (size, mtime_ns, sha256) in entries.items():
        path = folder / name
        try:
            stat = path.stat()
            settled = stat.st_size == size and stat.st_mtime_ns == mtime_ns
            same = stat.st_size == size and ((settled and not verify and size > _READ) or sha256_file(path) == sha256)
        except FileNotFoundError:
            raise CorruptArtifact(f"a file of the cached model is missing: {path}; {fix}") from None
        except OSError as err:
            raise from_os_error(err, "checking the cached model") from None
        if not same:
            raise CorruptArtifact(f"a file of the cached model differs from its manifest: {path}; {fix}")
    return manifest


class HashMemory:
    """sha256s of files outside the cache, remembered by path, size and time in `<cache>/hashes/`.

    `note` says so when the memory could not be written; the answer is right all the same, only slower next time.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "hashes"
        self.note = ""

    def recall(self, path: Path, compute: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """What `compute` said of `path` when it had this size and time; computed and remembered otherwise."""
        stat = path.stat()
        stamp = {"path": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        place = self._folder / f"{hashlib.sha256(stamp['path'].encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"
        try:
            known = json.loads(place.read_text(encoding="utf-8"))
            if known.get("stamp") == stamp and isinstance(known.get("facts"), dict):
                return known["facts"]
        except (OSError, ValueError, AttributeError):
            known = None  # absent or unreadable: computed again below
        facts = compute(path)
        if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
            self._remember(place, {"stamp": stamp, "facts": facts})
        return facts

    def _remember(self, place: Path, entry: dict[str, Any]) -> None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            aside = place.with_name(f"{place.name}.{os.getpid()}")
            aside.write_text(json.dumps(entry), encoding="utf-8")
            aside.replace(place)
        except OSError as err:
            self.note = f"file hashes could not be remembered in {self._folder} ({err.strerror}): they are computed each time"
