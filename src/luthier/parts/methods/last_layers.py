"""Last-k layers: the top of the stack and the final norm are trained, the rest is frozen.

One decision: the output head is never trained, because in most small models it is the token embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.parts.methods.method import Method

if TYPE_CHECKING:
    from luthier.engine.methods.last_layers import LastLayersSpec


class LastLayers(Method):
    """All weights of the last layers are trained."""

    kind: Literal["last_layers"] = "last_layers"
    layers: int = Field(default=2, ge=1, description="how many from the top")

    def spec(self) -> LastLayersSpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.last_layers import LastLayersSpec

        return LastLayersSpec(self.layers)
