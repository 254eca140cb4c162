"""A project's sources as data files on this disk: what stands beside the project file, and what is brought from elsewhere.

One decision: everything that needs the rows asks here, so a source is brought in one way, and a report names the very bytes that
the run has read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.parts.origins.fetching import bring
from luthier.pipeline.project import FileEntry, Place, Project

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
        for shown, path, notes in found_at(entry, root, home):
            yield Located(shown, path, entry, notes)


def found_at(place: Place, root: Path, home: Path) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """(what it is called, where it lies, how it was brought) of each file of a place."""
    if place.source is None:
        yield place.shown(), root / str(place.path), ()
        return
    brought = bring(place.source.placed(root), home / FOLDER)
    for number, file in enumerate(brought.files):
        shown = place.shown() if len(brought.files) == 1 else f"{place.shown()}, {file.name}"
        yield shown, file, brought.notes if number == 0 else ()
