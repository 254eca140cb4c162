"""The field type of a list of perturbations: any part of this folder, named by `kind` or given as a mapping with options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.core.discovery import discover, part_field
from luthier.parts.perturbations.contract import Perturbation

PACKAGE = "luthier.parts.perturbations"


def known_perturbations() -> dict[str, type[Perturbation]]:
    """Every perturbation by kind: built in and installed."""
    return discover(PACKAGE, Perturbation)


if TYPE_CHECKING:
    PerturbationConfig = Perturbation
else:
    PerturbationConfig = part_field(known_perturbations())
