"""Learning curves in words: overfitting, underfitting, diverged, healthy, or too short to say.

One decision: a finding is named only when the curves show it by a margin (the constants below) over
several evaluations; one bad point is noise, and a curve with too few points is called too short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from luthier.report.numbers import setting
from luthier.report.sections import CurvePoint, Diagnosis, Remedy

MIN_TRAIN_POINTS = 8
MIN_VALIDATION_POINTS = 3
RISE = 0.05  # overfitting: validation loss ends at least 5% above its best ...
RISE_POINTS = 2  # ... and each of at least this many evaluations after the best is above it
STILL_FALLING = 0.05  # underfitting: validation loss fell at least 5% over the last third of the evaluations
FLAT = 0.05  # underfitting: training loss fell less than 5% from start to end
BLOW_UP = 1.5  # diverged: training loss ends at 1.5 times its lowest smoothed value, and above its start

Values = list[tuple[int, float]]
Settings = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Window:
    """Training loss averaged over fifths of the run: noise of single steps cancels."""

    first: float
    last: float
    lowest: float


def diagnose(curves: Iterable[CurvePoint], settings: Settings | None = None) -> Diagnosis:
    """What `loss` on `train` and `validation` says, with the numbers behind it and the settings to try.

    `settings` are the run's own (`epochs`, `learning_rate`, `rank` ...), named in the remedies.
    """
    points, given = list(curves), settings or {}
    broken = [p for p in points if p.value is None]
    if broken:
        at = f"{broken[0].split} {broken[0].name} was not a finite number at step {broken[0].step}"
        return _diverged((at,), given)
    train, held = _series(points, "train", "loss"), _series(points, "validation", "loss")
    if len(train) >= MIN_TRAIN_POINTS:
        window = _window(train)
        if window.last > BLOW_UP * window.lowest and window.last > window.first:
            said = f"training loss rose from {window.lowest:.3f} at its lowest to {window.last:.3f} at the end"
            return _diverged((f"{said} (it began at {window.first:.3f})",), given)
    if len(train) < MIN_TRAIN_POINTS or len(held) < MIN_VALIDATION_POINTS:
        return _too_short(len(train), len(held))
    window = _window(train)
    return _overfitting(window, held, points, given) or _underfitting(window, held, given) or _healthy(window, held)


def _series(points: list[CurvePoint], split: str, name: str) -> Values:
    found = {p.step: p.value for p in points if p.split == split and p.name == name and p.value is not None}
    return sorted(found.items())


def _window(values: Values) -> _Window:
    size = max(len(values) // 5, 2)
    means = [sum(v for _, v in values[i : i + size]) / size for i in range(len(values) - size + 1)]
    return _Window(first=means[0], last=means[-1], lowest=min(means))


def _diverged(evidence: tuple[str, ...], given: Settings) -> Diagnosis:
    return Diagnosis(
        finding="diverged",
        text="The training diverged: the loss blew up, so nothing after that point was learned.",
        evidence=evidence,
        remedies=(
            _remedy(given, "learning_rate", "lower it by 3 to 10 times"),
            _remedy(given, "warmup", "lengthen it, so that the first steps are small"),
            Remedy(setting="data", advice="look at the rows of the steps before the rise"),
        ),
    )


def _too_short(num_train: int, num_held: int) -> Diagnosis:
    text = "The curves are too short to say whether the model over- or underfits."
    if not num_held:
        text = "No validation loss was measured, so over- and underfitting cannot be told apart."
    return Diagnosis(
        finding="too short to say",
        text=text,
        evidence=(
            f"{num_train} training and {num_held} validation points; at least {MIN_TRAIN_POINTS} and {MIN_VALIDATION_POINTS} are needed",
        ),
        remedies=(Remedy(setting="evaluations", advice="evaluate more often"),),
    )


def _overfitting(window: _Window, held: Values, points: list[CurvePoint], given: Settings) -> Diagnosis | None:
    best = min(range(len(held)), key=lambda i: held[i][1])
    (best_step, low), (last_step, last), after = held[best], held[-1], held[best + 1 :]
    rising = len(after) >= RISE_POINTS and last >= (1 + RISE) * low and all(v > low for _, v in after)
    if not rising or window.last >= window.first:
        return None
    evidence = [
        f"validation loss rose from {low:.3f} at step {best_step} to {last:.3f} at step {last_step}",
        f"training loss went on falling, from {window.first:.3f} to {window.last:.3f}",
    ]
    text = f"The model overfits after step {best_step}: it goes on learning the training rows while the validation loss rises."
    if kept := _metric_kept(points, best_step):
        evidence.append(kept)
        text += " Its answers have not become worse yet, but it has become too sure of them."
    return Diagnosis(
        finding="overfitting",
        text=text,
        evidence=tuple(evidence),
        remedies=(
            _remedy(given, "epochs", f"train less, about {best_step} steps (the best step was kept)"),
            Remedy(setting="data", advice="add rows, above all for the classes with the most errors"),
            _remedy(given, "rank", "lower it"),
            _remedy(given, "weight_decay", "raise it"),
        ),
    )


def _metric_kept(points: list[CurvePoint], best_step: int) -> str:
    """A sentence when a validation metric other than the loss is at least as good at the end as at the lowest loss."""
    for name in sorted({p.name for p in points if p.split == "validation" and p.name != "loss"}):
        values = _series(points, "validation", name)
        at_best = [v for step, v in values if step <= best_step]
        if at_best and values[-1][0] > best_step and values[-1][1] >= at_best[-1]:
            return f"validation {name} did not fall with it: {at_best[-1]:.3f} at step {best_step}, {values[-1][1]:.3f} at the end"
    return ""


def _underfitting(window: _Window, held: Values, given: Settings) -> Diagnosis | None:
    if window.last > (1 - FLAT) * window.first:
        return Diagnosis(
            finding="underfitting",
            text="The model underfits: the training loss hardly moved, so little was learned.",
            evidence=(f"training loss went from {window.first:.3f} to {window.last:.3f}",),
            remedies=(
                _remedy(given, "learning_rate", "raise it by 3 to 10 times"),
                _remedy(given, "rank", "raise it"),
                Remedy(setting="data", advice="check that the prompt holds what the answer needs"),
            ),
        )
    (step_then, then), (step_now, now) = held[(2 * (len(held) - 1)) // 3], held[-1]
    lowest = min(v for _, v in held)
    if now > lowest or now > (1 - STILL_FALLING) * then or window.last >= window.first:
        return None
    return Diagnosis(
        finding="underfitting",
        text="The model underfits: both losses were still falling when the training ended, so it stopped too early.",
        evidence=(
            f"validation loss still fell from {then:.3f} at step {step_then} to {now:.3f} at step {step_now}, its lowest",
            f"training loss fell from {window.first:.3f} to {window.last:.3f}",
        ),
        remedies=(_remedy(given, "epochs", "train longer"), _remedy(given, "learning_rate", "raise it by about 2 times")),
    )


def _healthy(window: _Window, held: Values) -> Diagnosis:
    low = min(v for _, v in held)
    return Diagnosis(
        finding="healthy",
        text="The curves look healthy: the training loss fell and the validation loss settled without rising again.",
        evidence=(
            f"training loss fell from {window.first:.3f} to {window.last:.3f}",
            f"validation loss fell from {held[0][1]:.3f} to {held[-1][1]:.3f} (lowest {low:.3f})"
            if held[-1][1] < held[0][1]
            else f"validation loss stayed between {low:.3f} and {max(v for _, v in held):.3f}",
        ),
    )


def _remedy(given: Settings, name: str, advice: str) -> Remedy:
    """A remedy that names the value the run had, when it is known (settings may be dotted: `method.rank`)."""
    for key in sorted(given, key=len):
        if key == name or key.endswith(f".{name}"):
            return Remedy(setting=key, advice=f"{advice} (it was {setting(given[key])})")
    return Remedy(setting=name, advice=advice)
