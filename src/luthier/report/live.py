"""Diagnoses while training goes on: the report's own rules on the curves so far, as one sentence each.

One decision: in the middle of a run only what more steps will not mend is said (overfitting, divergence, spikes, rows that
teach nothing, a loss that does not move by half-way); that a loss still falls is news at the end alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from luthier.report.curves import series, window
from luthier.report.diagnose import FLAT, diagnose
from luthier.report.further import further
from luthier.report.remedies import Settings
from luthier.report.sections import CurvePoint, Diagnosis

HALF = 0.5
SILENT = ("healthy", "too short to say")


def holding(
    curves: Iterable[CurvePoint], settings: Settings, steps_per_epoch: int | None, done: float, said: Collection[str] = ()
) -> list[Diagnosis]:
    """What holds now and is worth saying, without the findings in `said`. done: share of the run that is behind, 1 at its end."""
    points = list(curves)
    main = diagnose(points, settings, steps_per_epoch)
    early = main.finding == "underfitting" and done < 1 and (done < HALF or not _hardly_moved(points))
    found = [] if main.finding in SILENT or early else [main]
    found += further(points, main, settings, steps_per_epoch)
    return [d for d in found if d.finding not in said]


def _hardly_moved(points: list[CurvePoint]) -> bool:
    smoothed = window(series(points, "train", "loss"))
    return smoothed.last > (1 - FLAT) * smoothed.first


def sentence(diagnosis: Diagnosis, step: int) -> str:
    """Finding, evidence and remedy in one line for a terminal and a log."""
    lines = [f"`{r.line}` ({r.advice})" if r.line else f"{r.setting}: {r.advice}" for r in diagnosis.remedies[:2]]
    tried = f". To try: {'; '.join(lines)}" if lines else ""
    return f"{diagnosis.finding}, seen at step {step}: {'; '.join(diagnosis.evidence)}{tried}"
