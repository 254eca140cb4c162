"""A JSON file that lists data files (`{"files": [...]}`).

One decision: an entry must lie below the manifest's own folder, links resolved; one that does not is never
opened, and a manifest with such an entry is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from luthier.parts.sources.archive import is_unsafe_name
from luthier.parts.sources.rows import BadRow, Item, RawRow
from luthier.parts.sources.source import Source
from luthier.parts.sources.strict_json import BadJson, parse_json

_MAX_BYTES = 4 << 20


def read(source: Source) -> Iterator[Item]:
    """One row per entry (`entry N`, field `path`), or a BadRow for one outside the folder."""
    taken = b""
    for chunk in source.chunks:
        taken += chunk
        if len(taken) > _MAX_BYTES:
            yield BadRow("file", f"a list of files must be at most {_MAX_BYTES >> 20} MiB")
            return
    try:
        names = parse_json(taken.decode("utf-8"))["files"]
    except (BadJson, UnicodeDecodeError) as err:
        yield BadRow("file", str(err))
        return
    for number, name in enumerate(names, 1):
        yield entry_of(f"entry {number}", name, source.path.parent)


def entry_of(at: str, name: str, folder: Path) -> RawRow | BadRow:
    """The entry as a row with its `path`, when it stays below `folder`."""
    outside = BadRow(at, f"{name[:200]!r} is outside the data folder: it was not opened")
    if is_unsafe_name(name) or not name.strip():
        return outside
    try:
        target = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):
        return outside
    return RawRow(at, {"path": str(target)}) if target.is_relative_to(folder.resolve()) else outside
