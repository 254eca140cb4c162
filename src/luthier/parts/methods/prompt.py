"""Prompt tuning: learned token embeddings before every sequence (arXiv:2104.08691).

One decision: the learned tokens count against the model's context, as any prompt does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.parts.methods.method import Method

if TYPE_CHECKING:
    from luthier.engine.methods.prompt import PromptSpec


class Prompt(Method):
    """Embeddings [tokens, hidden]."""

    kind: Literal["prompt"] = "prompt"
    tokens: int = Field(default=20, ge=1, description="learned tokens")

    def spec(self) -> PromptSpec:
        """The same, as the engine takes it."""
        from luthier.engine.methods.prompt import PromptSpec

        return PromptSpec(self.tokens)
