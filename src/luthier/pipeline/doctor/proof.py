"""What a proof is: a frozen config that is called with a subject and comes back with a finding.

One decision: the folder `proofs/` is the registry; a proof names its own place in the table (`order`), the cheap ones first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from luthier.core.config import Config
from luthier.core.discovery import discover
from luthier.pipeline.doctor.document import Figure

if TYPE_CHECKING:
    from luthier.pipeline.doctor.subject import Subject

PACKAGE = "luthier.pipeline.doctor.proofs"

LOSS = 1e-5
"""Relative: a loss in float32 against the slow twin's (tests/parity/test_real_model.py)."""
LOGPROB = 2e-3
"""Nats: one token's log-probability in float32 against the slow twin's (tests/parity/test_real_model.py)."""
GRADIENT = 1e-3
"""Relative, over all trained weights: the slow twin's own float32 gradient is 1e-5 to 1e-4 away from float64 on a real model."""
REGROUPED = 1e-4
"""Relative: one engine's gradient when the same rows are grouped otherwise, which only moves the rounding of sums."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a proof found. `faults`: what is wrong beyond the figures; `applies` False: `proven` says why there is nothing to prove."""

    proven: str
    figures: tuple[Figure, ...] = ()
    faults: tuple[str, ...] = ()
    applies: bool = True


class Proof(Config, ABC):
    """Base of every proof. A subclass gives `kind: Literal[...]` with its name as default, its title, and where a fault would hurt."""

    order: ClassVar[int] = 100
    title: ClassVar[str]
    hurts: ClassVar[str]

    @abstractmethod
    def __call__(self, subject: Subject) -> Finding:
        """Carry the proof out. A UserError is a fault of the subject and becomes the line's text."""


def find_proofs() -> tuple[Proof, ...]:
    """Every proof of the folder (and installed ones, entry points `proofs.<kind>`), in the order of the table."""
    classes: list[Callable[[], Proof]] = list(discover(PACKAGE, Proof).values())
    return tuple(sorted((make() for make in classes), key=lambda p: (p.order, type(p).__name__)))
