"""How answers are made, as data (no torch and no numpy: a project file is checked with it)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.core.config import Config


class Decoding(Config):
    """How answers are made: scored over the label list, or generated as text."""

    kind: Literal["labels", "text"] = "text"
    max_new_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    seed: int = 0
