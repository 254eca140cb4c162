"""LoRA: a low-rank update beside frozen linear layers (arXiv:2106.09685).

One decision: alpha follows the rank (2 x rank) unless it is given, so changing the rank does not change the update's scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from luthier.core.config import Config

if TYPE_CHECKING:
    from luthier.engine.methods.lora import LoRASpec


class LoRA(Config):
    """What is trained: A [rank, in] and B [out, rank] per target layer."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)
    alpha: float | None = Field(default=None, gt=0, description="scale is alpha / rank; default 2 x rank")
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    rslora: bool = Field(default=False, description="scale by alpha / sqrt(rank) instead")

    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the input of A that is zero in training, drawn anew for each token"
    )

    @field_validator("targets")
    @classmethod
    def _some_targets(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("at least one target layer must be named, or all-linear")
        return value

    def spec(self) -> LoRASpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.lora import LoRASpec

        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        targets = (self.targets,) if isinstance(self.targets, str) else self.targets
        return LoRASpec(self.rank, alpha, targets, self.rslora)
