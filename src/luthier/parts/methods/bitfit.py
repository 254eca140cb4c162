"""BitFit: only biases are trained (arXiv:2106.10199).

One decision: Llama and its kin have no biases, and adding some is another model; that must be asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.parts.methods.method import Method

if TYPE_CHECKING:
    from luthier.engine.methods.bitfit import BitFitSpec


class BitFit(Method):
    """All biases are trained, those of norms included."""

    kind: Literal["bitfit"] = "bitfit"
    create: bool = Field(default=False, description="give linear layers without a bias one, zero at the start")

    def spec(self) -> BitFitSpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.bitfit import BitFitSpec

        return BitFitSpec(self.create)
