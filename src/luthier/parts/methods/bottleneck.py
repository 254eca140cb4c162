"""Bottleneck adapter layers: small trained networks behind attention and MLP of each layer (arXiv:1902.00751).

One decision: they are not linear, so they stay beside the weights for ever; choose LoRA for a model that must be merged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.parts.methods.method import Method

if TYPE_CHECKING:
    from luthier.engine.methods.bottleneck import BottleneckSpec


class Bottleneck(Method):
    """down [size, width], an activation, up [width, size], added to its input."""

    kind: Literal["bottleneck"] = "bottleneck"
    size: int = Field(default=32, ge=1, description="the inner width")
    activation: Literal["relu", "gelu", "silu"] = Field(default="relu", description="between the two matrices")
    targets: tuple[str, ...] = Field(
        default=(), description="layers whose outputs are adapted; the last of attention and of MLP when empty"
    )

    def spec(self) -> BottleneckSpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.bottleneck import BottleneckSpec

        return BottleneckSpec(self.size, self.activation, self.targets)
