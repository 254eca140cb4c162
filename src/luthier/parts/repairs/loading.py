"""The field type of a list of repairs: any part of this folder, named by `kind` or given as a mapping with options.

One decision: the folder and the installed entry points are the registry, so faults name the dotted path with the nearest
name and a new repair needs no list. The default list is the order in which damage is usually done, undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier.core.discovery import discover, load_part, part_field
from luthier.parts.repairs.contract import Repair

PACKAGE = "luthier.parts.repairs"
STANDARD = ("mojibake", "html", "control_characters", "unicode", "invisible", "white_space")
"""The repairs of a cleaning that names none, in their order."""


def known_repairs() -> dict[str, type[Repair]]:
    """Every repair by kind: built in and installed."""
    return discover(PACKAGE, Repair)


def load_repair(value: Any) -> Repair:
    """A repair from its kind, a mapping with `kind`, or itself. Raises UserError with the nearest name."""
    return load_part(PACKAGE, Repair, value)


if TYPE_CHECKING:
    RepairConfig = Repair
else:
    RepairConfig = part_field(known_repairs())
