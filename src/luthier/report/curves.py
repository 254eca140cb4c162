"""Learning curves as numbers: series by split and name, smoothed windows, and the noise of single steps.

One decision: noise is estimated from the differences of neighbouring steps (von Neumann 1941), so a trend is never
taken for noise; a rise counts only where it is larger than the noise of the means that show it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from luthier.report.sections import CurvePoint

Values = list[tuple[int, float]]
"""(step, value), by step."""


@dataclass(frozen=True, slots=True)
class Window:
    """A loss averaged over fifths of the run, so that the noise of single steps cancels. error: of the difference of two means."""

    start: float
    first: float
    last: float
    lowest: float
    highest: float
    error: float


def read_curves(path: Path) -> list[CurvePoint]:
    """The losses and the figures of validation rows in a `metrics.jsonl`; empty where there is none yet."""
    if not path.exists():
        return []
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    wanted = (p for p in lines if p["name"] == "loss" or p["split"] == "validation")
    return [CurvePoint(**{**p, "value": p["value"] if math.isfinite(p["value"]) else None}) for p in wanted]


def series(points: Iterable[CurvePoint], split: str, name: str) -> Values:
    """The finite values of one curve, by step."""
    found = {p.step: p.value for p in points if p.split == split and p.name == name and p.value is not None}
    return sorted(found.items())


def window(values: Values) -> Window:
    """The windows of a curve of at least two points. start: its very first value."""
    losses = [v for _, v in values]
    size = max(len(losses) // 5, 2)
    means = _running_means(losses, size)
    return Window(losses[0], means[0], means[-1], min(means), max(means), step_noise(losses) * math.sqrt(2 / size))


def level_at(values: Values, step: int) -> float:
    """The mean of the curve over the window that ends at `step`, or over its first window where that would begin before the curve."""
    losses = [v for at, v in values if at <= step]
    size = max(len(values) // 5, 2)
    near = losses[-size:] if len(losses) >= size else [v for _, v in values[:size]]
    return sum(near) / len(near)


def step_noise(losses: Sequence[float]) -> float:
    """The standard deviation of single steps, from the differences of neighbours; 0 for fewer than two."""
    squares = [(b - a) ** 2 for a, b in pairwise(losses)]
    return math.sqrt(sum(squares) / (2 * len(squares))) if squares else 0.0


def _running_means(losses: Sequence[float], size: int) -> list[float]:
    sums = [0.0, *accumulate(losses)]
    return [(sums[i + size] - sums[i]) / size for i in range(len(losses) - size + 1)]
