"""The field type of a list of repairs: any part of this folder, named by `kind` or given as a mapping with options.

One decision: the folder and the installed entry points are the registry, so faults name the dotted path with the nearest
name and a new repair needs no list. The default list is the order in which damage is usually done, undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BeforeValidator, Field

from luthier.core.discovery import discover, load_part
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


def _named(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


def _item() -> Any:
    known = known_repairs()
    union = Annotated[Union[tuple(known.values())], Field(discriminator="kind")]  # noqa: UP007 - made from a tuple
    names: Any = Literal[tuple(known)]
    written = Union[names, union]  # noqa: UP007 - made at run time
    return Annotated[union, BeforeValidator(_named, json_schema_input_type=written)]


if TYPE_CHECKING:
    RepairConfig = Repair
else:
    RepairConfig = _item()
