"""(IA)^3: a trained factor for each key, value and inner MLP channel (arXiv:2205.05638).

One decision: the layers are found by the names that transformers gives them; only unusual models need them spelt out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.parts.methods.method import Method

if TYPE_CHECKING:
    from luthier.engine.methods.ia3 import IA3Spec


class IA3(Method):
    """Vectors of factors that start at one."""

    kind: Literal["ia3"] = "ia3"
    targets: tuple[str, ...] = Field(default=(), description="layers whose outputs are scaled; keys and values when empty")
    feedforward: tuple[str, ...] = Field(default=(), description="layers whose inputs are scaled; the MLP's last one when both are empty")

    def spec(self) -> IA3Spec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.ia3 import IA3Spec

        return IA3Spec(self.targets, self.feedforward)
