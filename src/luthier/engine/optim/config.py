"""Optimiser settings, as data (no torch here: a project file is checked without it).

One decision: weight decay is decoupled and falls on matrices only; clipping is by the global norm of all gradients.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.core.config import Config


class AdamW(Config):
    """AdamW (arXiv:1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=1.0, gt=0, description="largest global gradient norm; null for no clipping")


class Schedule(Config):
    """Learning rate over the optimiser steps: linear warm-up, then constant, linear or cosine down to `min_ratio` of the peak."""

    kind: Literal["constant", "linear", "cosine"] = "linear"
    warmup_steps: int | None = Field(default=None, ge=0, description="wins over warmup_ratio")
    warmup_ratio: float = Field(default=0.0, ge=0, le=1, description="share of all steps, rounded up")
    min_ratio: float = Field(default=0.0, ge=0, le=1)
