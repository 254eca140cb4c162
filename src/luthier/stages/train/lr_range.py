"""The learning-rate range test (arXiv:1506.01186): the loss while the rate grows exponentially, on an engine of its own.

One decision: rows, their order, loss, optimiser and clipping are those of the run itself, so the rate that it suggests is for
this run and no other; its artifact and its checkpoints are not touched, and the weights that moved here are thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier.core.artifacts import BaseModel, Dataset, Prepared
from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.core.stage import Built
from luthier.engine.contract import Batch, Engine, Loss, NonFiniteLoss
from luthier.stages.train.class_weights import training_rows
from luthier.stages.train.loop import batch_of_step, check_processes
from luthier.stages.train.ranges import rate_range
from luthier.stages.train.recipe import Recipe

PAST = 0.9
"""Weight of the past in the running mean that ends the sweep."""
DIVERGED = 4.0
"""The sweep ends where the running mean of the loss is this many times its least value (fastai's rule)."""
WIDTH = 0.04
"""Standard deviation of the smoothing kernel as a share of the planned steps. It is centred: a running mean would lag by half a decade."""
_DECADES = 2
"""How far the sweep goes beyond the recommended rates on either side, in powers of ten."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """rates, losses, smoothed (by a Gaussian kernel): of each step made.

    suggested: the rate where the smoothed loss falls most steeply; None when it falls nowhere. diverged: the rate at which
    the loss blew up or was no longer finite; None when the sweep came to its end.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float | None
    diverged: float | None


Told = Callable[[int, int], None]
"""Called with (steps made, steps planned)."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What training reads."""

    base: BaseModel
    dataset: Built[Dataset]
    prepared: Built[Prepared]


def sweep_of(inputs: Inputs, recipe: Recipe, execution: Execution, num_steps: int, told: Told) -> Sweep:
    """The sweep of a project's own rows, over the recommended rates of its method and two powers of ten beyond.

    It is of one process or of `execution.nproc`, as the run.
    """
    from luthier.engine.loading import open_for
    from luthier.engine.text.load import load_renderer

    check_processes(execution, inputs.prepared.result)
    rates = rates_between(*limits(recipe), num_steps)
    sequences = training_rows(recipe, inputs.prepared, inputs.dataset)[0].sequences

    def batch(step: int) -> Batch:
        return batch_of_step(step, sequences, recipe)[1]

    renderer = load_renderer(inputs.prepared.path / "renderer")
    with open_for(renderer, Path(inputs.base.folder), recipe.method.spec(), execution, recipe.seed, recipe.precision) as engine:
        engine.use_optimiser(recipe.optimizer)
        return sweep(engine, batch, recipe.loss(), rates, told)


def limits(recipe: Recipe) -> tuple[float, float]:
    """The first and the last rate of a sweep."""
    usual = rate_range(recipe)
    if usual is None:
        return 1e-7, 1.0
    return usual.low / 10**_DECADES, min(1.0, usual.high * 10**_DECADES)


def rates_between(low: float, high: float, num_steps: int) -> list[float]:
    """`num_steps` rates from `low` to `high`, each the same multiple of the one before. Raises UserError."""
    if num_steps < 10 or not 0 < low < high:
        raise UserError("a sweep needs at least 10 steps and rates that grow", f"{num_steps} steps from {low:g} to {high:g}")
    return [low * (high / low) ** (i / (num_steps - 1)) for i in range(num_steps)]


def sweep(engine: Engine, batch: Callable[[int], Batch], loss: Loss, rates: Sequence[float], told: Told) -> Sweep:
    """One optimiser step at each of `rates`; the loss of a step is that before its update. The engine's weights move."""
    losses: list[float] = []
    past, least, diverged = 0.0, math.inf, None
    for step, rate in enumerate(rates):
        try:
            value = engine.forward_backward(batch(step), loss).loss
            engine.optim_step(rate)
        except NonFiniteLoss:
            diverged = rate
            break
        losses.append(value)
        past = PAST * past + (1 - PAST) * value
        mean = past / (1 - PAST ** (step + 1))
        least = min(least, mean)
        told(step + 1, len(rates))
        if mean > DIVERGED * least:
            diverged = rate
            break
    made, smoothed = rates[: len(losses)], smooth(losses, WIDTH * len(rates))
    return Sweep(tuple(made), tuple(losses), tuple(smoothed), steepest(made, smoothed), diverged)


def smooth(losses: Sequence[float], width: float) -> list[float]:
    """Means of the losses under a Gaussian kernel of standard deviation `width` steps, cut and renormalised at both ends."""
    from scipy.ndimage import gaussian_filter1d

    if not losses:
        return []
    values, weights = (gaussian_filter1d(x, width, mode="constant") for x in (np.asarray(losses), np.ones(len(losses))))
    return (values / weights).tolist()


def steepest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls most steeply by the logarithm of the rate; None when it falls nowhere."""
    if len(rates) < 3:
        return None
    slope = np.gradient(np.asarray(smoothed), np.log(rates))
    at = int(slope.argmin())
    return float(rates[at]) if slope[at] < 0 else None
