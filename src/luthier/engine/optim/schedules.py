"""Learning-rate schedules as pure functions of the step.

One decision: the factor is computed from (step, total) each time, so a resumed run has no schedule state to lose.
Formulas are those of transformers' `get_*_schedule_with_warmup`.
"""

from __future__ import annotations

import math

from luthier.engine.optim.config import Schedule


def warmup_steps(schedule: Schedule, num_steps: int) -> int:
    """Warm-up length in steps."""
    return schedule.warmup_steps if schedule.warmup_steps is not None else math.ceil(num_steps * schedule.warmup_ratio)


def factor(schedule: Schedule, step: int, num_steps: int) -> float:
    """What the peak learning rate is multiplied by at optimiser step `step` (0-based) of `num_steps`."""
    warmup = warmup_steps(schedule, num_steps)
    if step < warmup:
        return step / max(1, warmup)
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "inverse_sqrt":
        timescale = schedule.timescale or warmup or 10_000
        return max(schedule.min_ratio, ((step + timescale - warmup) / timescale) ** -0.5)
    if schedule.kind == "wsd":
        decay = math.ceil(num_steps * schedule.decay_ratio)
        left = min(1.0, max(0.0, (num_steps - step) / decay))
        return schedule.min_ratio + (1.0 - schedule.min_ratio) * left
    progress = min(1.0, (step - warmup) / max(1, num_steps - warmup))
    down = 1.0 - progress if schedule.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return schedule.min_ratio + (1.0 - schedule.min_ratio) * down
