"""Full fine-tuning: every weight moves.

One decision: it takes the rate of the recipe as it is; rates that suit LoRA are 10 to 100 times too high for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from luthier.parts.methods.method import Method

if TYPE_CHECKING:
    from luthier.engine.methods.full import FullSpec


class Full(Method):
    """All parameters are trained."""

    kind: Literal["full"] = "full"

    def spec(self) -> FullSpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.full import FullSpec

        return FullSpec()
