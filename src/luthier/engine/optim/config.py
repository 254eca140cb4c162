"""Optimiser and schedule settings, as data (no torch here: a project file is checked without it).

One decision: weight decay falls on matrices only, never on biases, norms and other vectors; it is decoupled except in
`adam`, `sgd` and `rmsprop`, where it is the classic L2 term. Clipping is by the global norm of all gradients.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from luthier.core.config import Config


class Regularised(Config):
    """What every optimiser shares."""

    weight_decay: float = Field(default=0.0, ge=0, description="on matrices only")
    l1: float = Field(default=0.0, ge=0, description="adds l1 * sum(|weight|) of the trained weights to the loss")
    clip_norm: float | None = Field(default=1.0, gt=0, description="largest global gradient norm; null for no clipping")


class AdamW(Regularised):
    """AdamW (arXiv:1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay of the two moments")
    eps: float = Field(default=1e-8, gt=0, description="added to the root of the second moment")


class AdamW8bit(Regularised):
    """AdamW with both moments in 8 bits, block by block (arXiv:2110.02861, bitsandbytes). Tensors below 4,096 values keep 32 bits."""

    kind: Literal["adamw_8bit"] = "adamw_8bit"
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay of the two moments")
    eps: float = Field(default=1e-8, gt=0, description="added to the root of the second moment")


class Adam(Regularised):
    """Adam (arXiv:1412.6980), weight decay as an L2 term in the gradient."""

    kind: Literal["adam"] = "adam"
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay of the two moments")
    eps: float = Field(default=1e-8, gt=0, description="added to the root of the second moment")


class SGD(Regularised):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the last update that is kept")
    nesterov: bool = Field(default=False, description="look ahead along the momentum")


class RMSprop(Regularised):
    """RMSprop (Hinton, lecture 6e of Neural Networks for Machine Learning)."""

    kind: Literal["rmsprop"] = "rmsprop"
    alpha: float = Field(default=0.99, ge=0, lt=1, description="decay of the mean square")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="share of the last update that is kept")
    eps: float = Field(default=1e-8, gt=0, description="added to the root of the second moment")


class Adafactor(Regularised):
    """Adafactor (arXiv:1804.04235): the second moment of a matrix as its row and column means."""

    kind: Literal["adafactor"] = "adafactor"
    beta2_decay: float = Field(default=-0.8, le=0, description="exponent of the step in the decay of the second moment")


class Lion(Regularised):
    """Lion (arXiv:2302.06675): the sign of an interpolated momentum. Wants a rate 3 to 10 times below AdamW's."""

    kind: Literal["lion"] = "lion"
    betas: tuple[float, float] = Field(default=(0.9, 0.99), description="interpolation of the step, decay of the momentum")


def _kind(value: object) -> str:
    """The kind of an optimiser; a mapping without one is AdamW."""
    return str(value.get("kind", "adamw") if isinstance(value, dict) else getattr(value, "kind", ""))


OptimizerConfig = Annotated[
    Annotated[AdamW, Tag("adamw")]
    | Annotated[AdamW8bit, Tag("adamw_8bit")]
    | Annotated[Adam, Tag("adam")]
    | Annotated[SGD, Tag("sgd")]
    | Annotated[RMSprop, Tag("rmsprop")]
    | Annotated[Adafactor, Tag("adafactor")]
    | Annotated[Lion, Tag("lion")],
    Discriminator(_kind),
]


class Schedule(Config):
    """Learning rate over the optimiser steps: linear warm-up, then down to `min_ratio` of the peak.

    wsd: constant, then a linear fall over the last `decay_ratio` of all steps (arXiv:2404.06395). inverse_sqrt: falls with
    the square root of the step, from the end of the warm-up, as if that had been `timescale` steps long.
    """

    kind: Literal["constant", "linear", "cosine", "inverse_sqrt", "wsd"] = "linear"
    warmup_steps: int | None = Field(default=None, ge=0, description="wins over warmup_ratio")
    warmup_ratio: float = Field(default=0.0, ge=0, le=1, description="share of all steps, rounded up")
    min_ratio: float = Field(default=0.0, ge=0, le=1)
    decay_ratio: float = Field(default=0.2, gt=0, le=1, description="wsd only: share of all steps, rounded up")
    timescale: int | None = Field(default=None, ge=1, description="inverse_sqrt only; default: the warm-up, or 10,000 without one")
