"""QLoRA: LoRA on a base whose linear layers stay quantised in memory (arXiv:2305.14314).

One decision: the rounding of the base is part of the method, so it is recorded with the adapter and every later use of the
model computes with the same rounded weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.core.keys import SourceFile
from luthier.parts.methods.lora import LowRank

if TYPE_CHECKING:
    from luthier.engine.methods.qlora import QLoRASpec


class QLoRA(LowRank):
    """LoRA beside weights of four to eight bits."""

    kind: Literal["qlora"] = "qlora"
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the input of A that is zero in training, drawn anew for each token"
    )
    stored: Literal["nf4", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"] | SourceFile = Field(
        default="nf4",
        description="the form that linear weights are kept in, or `{path: model.gguf}`: the blocks of the file that the base "
        "was made from as they are, K-quants included",
    )

    def spec(self) -> QLoRASpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.qlora import QLoRASpec

        return QLoRASpec(*self.settings(), self.stored.path if isinstance(self.stored, SourceFile) else self.stored)
