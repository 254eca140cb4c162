"""How the work is carried out: recorded with every artifact, never part of a key.

One decision: nothing here may change a result beyond floating-point rounding; whatever may (precision,
seed, batch size) is identity and lives in the stage that it changes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from luthier.core.config import Config

OTHER_ENGINES = "use execution.engine=auto: the generic engine, or the reference engine where it cannot pack the model"
"""What a message advises for a model that the fast engine does not compute; only loading shows which of the two takes it."""


class Execution(Config):
    """Device, engine and machine limits of a run."""

    engine: Literal["auto", "fast", "generic", "reference"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, description="CPU threads; default: all cores this process may use")
    nproc: int = Field(
        default=1, ge=1, description="processes that share the rows of each optimiser step in training; threads and memory are divided"
    )
    shard: bool = Field(
        default=False, description="divide the frozen weights between the processes of training (FSDP2), which takes the reference engine"
    )
    micro_batch_tokens: Annotated[int, Field(ge=64)] | Literal["auto"] = Field(
        default="auto", description="unique tokens computed at once; bounds memory, not the result; auto: what fits, at most 4096"
    )
    memory_gb: float | None = Field(
        default=None, gt=0, description="memory that training may take, in GB of 2^30 bytes; default: 85 % of what is available"
    )
    cache_gb: float = Field(
        default=4.0, ge=0, description="disk for what frozen layers give, kept between epochs where that pays (`last_layers`); 0 for none"
    )
    save_every: int = Field(default=10, ge=1, description="optimiser steps between resume points")

    @model_validator(mode="after")
    def _several_to_divide_between(self) -> Execution:
        if self.shard and self.nproc == 1:
            raise ValueError("`shard` divides the weights between processes: nproc of 2 or more must be given, got 1")
        return self
