"""A project's sources as data files on this disk: what stands beside the project file, and what is brought from elsewhere.

One decision: everything that needs the rows asks here, so a source is brought in one way, and a report names the very bytes that
the run has read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.parts.origins.fetching import bring
from luthier.pipeline.project import FileEntry, Project

FOLDER = "sources"


@dataclass(frozen=True, slots=True)
class Located:
    """One data file of a project: what it is called, where it lies, its entry, and notes of how it was brought."""

    shown: str
    path: Path
    entry: FileEntry
    notes: tuple[str, ...] = ()


def locate(project: Project, root: Path, home: Path) -> Iterator[Located]:
    """Every data file in order; sources are brought below `home`. Raises what bringing them raises."""
    for entry in project.data.files:
        if entry.source is None:
            yield Located(entry.shown(), root / str(entry.path), entry)
            continue
        brought = bring(entry.source.placed(root), home / FOLDER)
        for number, file in enumerate(brought.files):
            shown = entry.shown() if len(brought.files) == 1 else f"{entry.shown()}, {file.name}"
            yield Located(shown, file, entry, brought.notes if number == 0 else ())
