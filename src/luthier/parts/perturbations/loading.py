"""The field type of a list of perturbations: any part of this folder, named by `kind` or given as a mapping with options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BeforeValidator, Field

from luthier.core.discovery import discover
from luthier.parts.perturbations.contract import Perturbation

PACKAGE = "luthier.parts.perturbations"


def known_perturbations() -> dict[str, type[Perturbation]]:
    """Every perturbation by kind: built in and installed."""
    return discover(PACKAGE, Perturbation)


def _named(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


def _item() -> Any:
    known = known_perturbations()
    union = Annotated[Union[tuple(known.values())], Field(discriminator="kind")]  # noqa: UP007 - made from a tuple
    names: Any = Literal[tuple(known)]
    written = Union[names, union]  # noqa: UP007 - made at run time
    return Annotated[union, BeforeValidator(_named, json_schema_input_type=written)]


if TYPE_CHECKING:
    PerturbationConfig = Perturbation
else:
    PerturbationConfig = _item()
