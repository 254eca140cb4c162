"""What else learning curves say, beside their diagnosis: rows that teach nothing more, and spikes of the loss.

One decision: these stand beside the diagnosis and never replace it: a run may be healthy and still have spent its last
epochs on rows that had nothing left to teach.
"""

from __future__ import annotations

from collections.abc import Iterable

from luthier.report.curves import Values, series, window
from luthier.report.diagnose import MIN_TRAIN_POINTS, MIN_VALIDATION_POINTS
from luthier.report.remedies import Settings, raised, remedy, shorter
from luthier.report.sections import CurvePoint, Diagnosis, Remedy

GAIN = 0.02  # exhausted: no later evaluation is more than 2% below the loss that had been reached by then ...
LATER_POINTS = 2  # ... over at least one whole epoch, this many evaluations and half of the steps
HALF = 0.5
FELL = 0.05  # and the rows had taught something at first: the loss fell by at least 5%
HALVED = 0.5  # a spike: after the loss had halved, a step above 1.5 times the worst of its first steps
SPIKE = 1.5
FIRST_STEPS = 4


def further(
    curves: Iterable[CurvePoint], main: Diagnosis, settings: Settings | None = None, steps_per_epoch: int | None = None
) -> tuple[Diagnosis, ...]:
    """Data exhaustion and loss spikes, each where the curves show it and `main`, their diagnosis, does not say it already.

    steps_per_epoch: optimiser steps that see every row once.
    """
    points, given = list(curves), settings or {}
    train, held = series(points, "train", "loss"), series(points, "validation", "loss")
    exhausted = None if main.finding in ("overfitting", "diverged") else _exhausted(train, held, given, steps_per_epoch)
    spiked = None if main.finding == "diverged" else _spiked(train, given)
    return tuple(d for d in (exhausted, spiked) if d is not None)


def _exhausted(train: Values, held: Values, given: Settings, per_epoch: int | None) -> Diagnosis | None:
    if per_epoch is None or len(train) < MIN_TRAIN_POINTS or len(held) < MIN_VALIDATION_POINTS or held[0][0] != 0:
        return None
    at = _last_gain(held)
    (step, low), (last_step, last), start = held[at], held[-1], held[0][1]
    if at == 0 or len(held) - 1 - at < LATER_POINTS or last_step - step < max(per_epoch, HALF * last_step) or low > (1 - FELL) * start:
        return None
    if window(train).last >= window(train).first:
        return None
    epochs, passed = step / per_epoch, (last_step - step) / per_epoch
    shown = ", ".join(f"{v:.3f} at epoch {s / per_epoch:.2g}" for s, v in held[-6:])
    return Diagnosis(
        finding="data exhausted",
        text=f"The rows have taught what they can: the last {passed:.2g} epochs brought no further gain on validation rows.",
        evidence=(
            f"validation loss was {low:.3f} at step {step} (epoch {epochs:.2g}) and is {last:.3f} at step {last_step}",
            f"validation loss: {shown}",
        ),
        remedies=(
            shorter(given, step, per_epoch, f"train about {epochs:.2g} epochs: the same result for less time"),
            Remedy(setting="data", advice="add rows: new ones teach more than the same ones again"),
        ),
    )


def _last_gain(held: Values) -> int:
    """The first evaluation whose loss no later one lowers by `GAIN` of it."""
    for i, (_, value) in enumerate(held[:-1]):
        if min(v for _, v in held[i + 1 :]) > (1 - GAIN) * value:
            return i
    return len(held) - 1


def _spiked(train: Values, given: Settings) -> Diagnosis | None:
    if len(train) < MIN_TRAIN_POINTS:
        return None
    worst = max(v for _, v in train[:FIRST_STEPS])
    lowest, spikes = worst, []
    for step, value in train[FIRST_STEPS:]:
        if lowest <= HALVED * worst and value > SPIKE * worst:
            spikes.append((step, value))
        lowest = min(lowest, value)
    if not spikes:
        return None
    named = ", ".join(f"{value:.3f} at step {step}" for step, value in spikes[:4]) + (", ..." if len(spikes) > 4 else "")
    times = "1 step" if len(spikes) == 1 else f"{len(spikes)} steps"
    return Diagnosis(
        finding="loss spikes",
        text=f"The training loss jumped at {times} to above where it began: the steps are too large, or some rows are unlike the others.",
        evidence=(f"training loss {named}, after {lowest:.3f} at its lowest; the worst of the first {FIRST_STEPS} steps was {worst:.3f}",),
        remedies=(
            remedy(given, "learning_rate", "lower it by 2 to 5 times", factor=0.5),
            remedy(given, "clip_norm", "lower it, so that one step can do less harm", factor=0.3),
            raised(given, "batch_size", "raise it, so that single rows weigh less", least=16),
            Remedy(setting="data", advice="look at the rows of these steps"),
        ),
    )
