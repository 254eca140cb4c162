"""The base of every tuning method's config: data only, turned into what the engine takes by `spec`.

One decision: what a method computes is in `engine/methods/`, one file each; a config here is that method's settings and
their limits, so reading a project file imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.core.config import Config

if TYPE_CHECKING:
    from luthier.engine.methods.contract import MethodSpec


class Method(Config):
    """A way of tuning: which parameters exist and which of them move. A subclass fixes `kind`, its name in a project file."""

    kind: str

    def spec(self) -> MethodSpec:
        """The same, as the engine takes it."""
        raise TypeError(f"{type(self).__name__} must say what the engine takes")
