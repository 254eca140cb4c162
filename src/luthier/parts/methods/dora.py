"""DoRA: LoRA on the direction of each weight, with a trained magnitude per output (arXiv:2402.09353).

One decision: its settings are LoRA's, so a recipe changes method by changing `kind`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from luthier.parts.methods.lora import LowRank

if TYPE_CHECKING:
    from luthier.engine.methods.dora import DoRASpec


class DoRA(LowRank):
    """LoRA, and a length for every row of the adapted weights."""

    kind: Literal["dora"] = "dora"

    def spec(self) -> DoRASpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.dora import DoRASpec

        return DoRASpec(*self.settings())
