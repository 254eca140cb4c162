"""Prefix tuning: learned keys and values before every sequence, in every layer (arXiv:2101.00190).

One decision: there is no network between the parameters and the keys; a start from real tokens makes it unnecessary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.parts.methods.method import Method

if TYPE_CHECKING:
    from luthier.engine.methods.prefix import PrefixSpec


class Prefix(Method):
    """Keys and values [layers, tokens, kv_heads, head_dim]."""

    kind: Literal["prefix"] = "prefix"
    tokens: int = Field(default=20, ge=1, description="learned tokens")

    def spec(self) -> PrefixSpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.prefix import PrefixSpec

        return PrefixSpec(self.tokens)
