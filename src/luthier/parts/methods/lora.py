"""LoRA: a low-rank update beside frozen linear layers (arXiv:2106.09685).

One decision: alpha follows the rank (2 x rank) unless it is given, so changing the rank does not change the update's scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from luthier.parts.methods.method import Method

if TYPE_CHECKING:
    from luthier.engine.methods.lora import LoRASpec


class LowRank(Method):
    """What LoRA and its variants share: A [rank, in] and B [out, rank] per target layer."""

    rank: int = Field(default=16, ge=1, description="columns of A and rows of B; at most the smaller side of a target")
    alpha: float | None = Field(default=None, gt=0, description="scale is alpha / rank; default 2 x rank")
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear",
        description="last parts of layers' names (`q_proj`, `embed_tokens`, `lm_head`) or patterns of whole names "
        "(`model.layers.2?.*`); `all-linear` is every linear layer but the output head",
    )
    rslora: bool = Field(default=False, description="scale by alpha / sqrt(rank) instead (arXiv:2312.03732)")

    @field_validator("targets")
    @classmethod
    def _some_targets(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("at least one target layer must be named, or all-linear")
        return value

    def settings(self) -> tuple[int, float, tuple[str, ...], bool]:
        """rank, alpha, targets, rslora, as the specs take them."""
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        names = (self.targets,) if isinstance(self.targets, str) else self.targets
        return self.rank, alpha, names, self.rslora


class LoRA(LowRank):
    """W + scale B A on the target layers; only A and B are trained."""

    kind: Literal["lora"] = "lora"
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the input of A that is zero in training, drawn anew for each token"
    )

    def spec(self) -> LoRASpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.lora import LoRASpec

        return LoRASpec(*self.settings())
