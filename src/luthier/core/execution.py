"""How the work is carried out: recorded with every artifact, never part of a key.

One decision: nothing here may change a result beyond floating-point rounding; whatever may (precision,
seed, batch size) is identity and lives in the stage that it changes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.core.config import Config


class Execution(Config):
    """Device, engine and machine limits of a run."""

    engine: Literal["auto", "fast", "reference"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, description="CPU threads; default: all cores this process may use")
    micro_batch_tokens: int = Field(default=4096, ge=64, description="unique tokens computed at once; bounds memory, not the result")
    save_every: int = Field(default=10, ge=1, description="optimiser steps between resume points")
