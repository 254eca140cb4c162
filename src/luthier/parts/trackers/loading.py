"""The field type of a list of trackers: any part of this folder, named by `kind` or given as a mapping with options.

One decision: the folder and the installed entry points are the registry, so faults name the dotted path with the nearest name and
a new tracker needs no list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier.core.discovery import discover, load_part, part_field
from luthier.parts.trackers.contract import Tracker

PACKAGE = "luthier.parts.trackers"


def known_trackers() -> dict[str, type[Tracker]]:
    """Every tracker by kind: built in and installed."""
    return discover(PACKAGE, Tracker)


def load_tracker(value: Any) -> Tracker:
    """A tracker from its kind, a mapping with `kind`, or itself. Raises UserError with the nearest name."""
    return load_part(PACKAGE, Tracker, value)


if TYPE_CHECKING:
    TrackerConfig = Tracker
else:
    TrackerConfig = part_field(known_trackers())
