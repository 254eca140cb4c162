"""The training recipe: everything about a run that may change its result.

One decision: evaluations are placed by count, evenly over the run, and the last one is always at the end,
so the best checkpoint and early stopping always have the final weights to compare with.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from luthier.core.config import Config
from luthier.engine.contract import NoiseRates
from luthier.engine.optim.config import AdamW, OptimizerConfig, Schedule
from luthier.parts.losses.sft import SFT
from luthier.parts.methods.loading import MethodConfig
from luthier.parts.methods.lora import LoRA
from luthier.stages.train.regularisation import Regularisation


class EarlyStopping(Config):
    """Stop after `patience` evaluations in a row that improve `watch` by no more than `min_delta`."""

    patience: int = Field(default=2, ge=1)
    min_delta: float = Field(default=0.0, ge=0)


class Recipe(Config):
    """Method, optimiser, schedule, regularisation, length, and how training is watched."""

    method: MethodConfig = LoRA()
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    optimizer: OptimizerConfig = AdamW()
    schedule: Schedule = Schedule()
    regularisation: Regularisation = Regularisation()
    epochs: float | None = Field(default=None, gt=0, le=1000)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1, description="rows per optimiser step")
    seed: int = Field(default=13, ge=0)
    precision: Literal["float32", "float64", "bfloat16"] = Field(
        default="float32",
        description="bfloat16: of matrix products alone; what is kept, norms, attention, loss and optimiser stay in float32",
    )
    evaluations: int = Field(default=3, ge=1, le=1000)
    watch: Literal["metric", "loss"] = "metric"
    early_stopping: EarlyStopping | None = EarlyStopping()
    train_sample: int = Field(default=32, ge=0, description="training rows on which the task metric is also measured")
    samples: int = Field(default=4, ge=0, le=50, description="validation rows whose answers are kept at each evaluation, for the report")

    @model_validator(mode="after")
    def _one_length(self) -> Recipe:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("`epochs` or `steps` must be given, not both")
        return self

    def steps_per_epoch(self, num_rows: int) -> int:
        """Optimiser steps that see every row once; the last one may be smaller."""
        return math.ceil(num_rows / self.batch_size)

    def total_steps(self, num_rows: int) -> int:
        """Optimiser steps of the whole run (one epoch when neither epochs nor steps is given)."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil((self.epochs or 1.0) * self.steps_per_epoch(num_rows) - 1e-9))

    def loss(self) -> SFT:
        """The loss of the training rows; watched figures are of plain log-probabilities."""
        return SFT(label_smoothing=self.regularisation.label_smoothing)

    def noise_rates(self) -> NoiseRates:
        """What noise the run trains under; false when none."""
        r = self.regularisation
        return NoiseRates(r.dropout, getattr(self.method, "dropout", 0.0), r.neftune_alpha, r.shared_masks)

    @property
    def shares_prefixes(self) -> bool:
        """Whether rows that start alike are computed as one as far as they are alike."""
        return self.noise_rates().shares_prefixes

    def evaluation_steps(self, total: int) -> tuple[int, ...]:
        """The optimiser steps after which the model is evaluated, the last step included."""
        count = min(self.evaluations, total)
        return tuple(sorted({math.ceil(total * (i + 1) / count) for i in range(count)}))
