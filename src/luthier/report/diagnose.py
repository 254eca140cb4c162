"""Learning curves in words: overfitting, underfitting, diverged, healthy, or too short to say.

One decision: a finding is named only when the curves show it by a margin (the constants below) over
several evaluations; one bad point is noise, and a curve with too few points is called too short.
"""

from __future__ import annotations

from collections.abc import Iterable

from luthier.report.curves import Values, Window, level_at, series, window
from luthier.report.remedies import Settings, faster, known, longer, raised, remedy, shorter
from luthier.report.sections import CurvePoint, Diagnosis, Remedy

MIN_TRAIN_POINTS = 8
MIN_VALIDATION_POINTS = 3
RISE = 0.05  # overfitting: validation loss ends at least 5% above its best ...
RISE_POINTS = 2  # ... and each of at least this many evaluations after the best is above it
STILL_FALLING = 0.05  # underfitting: validation loss fell at least 5% over the last third of the evaluations
FLAT = 0.05  # underfitting: training loss fell less than 5% from start to end
BLOW_UP = 1.5  # diverged: training loss ends at 1.5 times its lowest smoothed value ...
LOST = 0.5  # ... and has given back at least half of what it had fallen, by more than NOISE errors
NOISE = 3.0
WORSE = 0.1  # diverged too: both losses end 10% above what they were before the first step, or validation loss after such a blow-up


def diagnose(curves: Iterable[CurvePoint], settings: Settings | None = None, steps_per_epoch: int | None = None) -> Diagnosis:
    """What `loss` on `train` and `validation` says, with the numbers behind it and the settings to try.

    `settings` are the run's own (`epochs`, `learning_rate`, `rank` ...), named in the remedies.
    """
    points, given = list(curves), settings or {}
    broken = [p for p in points if p.value is None]
    if broken:
        at = f"{broken[0].split} {broken[0].name} was not a finite number at step {broken[0].step}"
        return _diverged((at,), given)
    train, held = series(points, "train", "loss"), series(points, "validation", "loss")
    if len(train) < MIN_TRAIN_POINTS:
        return _too_short(len(train), len(held))
    if said := _grew(window(train)) or _worse_than_before(window(train), train, held):
        return _diverged((said,), given)
    if len(held) < MIN_VALIDATION_POINTS:
        return _too_short(len(train), len(held))
    smoothed = window(train)
    overfits = _overfitting(points, given, steps_per_epoch)
    return overfits or _flat(smoothed, given) or _still_falling(smoothed, held, points, given) or _healthy(smoothed, held)


def _grew(w: Window) -> str:
    """Evidence that the training loss left its own running minimum for good; empty when it did not."""
    rise, fall = w.last - w.lowest, max(w.first, w.start) - w.lowest
    if w.last <= BLOW_UP * w.lowest or rise < LOST * fall or rise <= NOISE * w.error:
        return ""
    return f"training loss rose from {w.lowest:.3f} at its lowest to {w.last:.3f} at the end (it began at {w.first:.3f})"


def _worse_than_before(w: Window, train: Values, held: Values) -> str:
    """Evidence of a run that blew up at once: validation ends worse than untrained, after training was worse too; empty otherwise."""
    if len(held) < MIN_VALIDATION_POINTS or held[0][0] != 0:
        return ""
    before, after = held[0][1], [v for _, v in held[-2:]]
    tail = [v for _, v in train[-max(len(train) // 5, 2) :]]
    blew_up = w.highest > BLOW_UP * w.start and min(after) > before
    ends_above = min(tail) > w.start and w.last > (1 + WORSE) * w.start and min(after) > (1 + WORSE) * before
    if not blew_up and not ends_above:
        return ""
    begun = f"validation loss was {before:.3f} before the first step and is {after[-1]:.3f} at step {held[-1][0]}"
    return f"{begun}; training loss went from {w.start:.3f} up to {w.highest:.3f} and is {w.last:.3f}"


def _diverged(evidence: tuple[str, ...], given: Settings) -> Diagnosis:
    return Diagnosis(
        finding="diverged",
        text="The training diverged: the loss blew up, so nothing after that point was learned.",
        evidence=evidence,
        remedies=(
            remedy(given, "learning_rate", "lower it by 3 to 10 times", factor=0.2),
            raised(given, "warmup_ratio", "lengthen it, so that the first steps are small", least=0.1),
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


def _overfitting(points: list[CurvePoint], given: Settings, per_epoch: int | None) -> Diagnosis | None:
    train, held = series(points, "train", "loss"), series(points, "validation", "loss")
    best = min(range(len(held)), key=lambda i: held[i][1])
    (best_step, low), (last_step, last), after = held[best], held[-1], held[best + 1 :]
    rising = len(after) >= RISE_POINTS and last >= (1 + RISE) * low and all(v > low for _, v in after)
    then, now = level_at(train, best_step), window(train).last
    if not rising or now >= then:
        return None
    evidence = [
        f"validation loss rose from {low:.3f} at step {best_step} to {last:.3f} at step {last_step}",
        f"training loss went on falling meanwhile, from {then:.3f} to {now:.3f}",
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
            shorter(given, best_step, per_epoch, f"train less, about {best_step} steps (the best step was kept)")
            if best_step
            else remedy(given, "learning_rate", "lower it by 3 to 10 times", factor=0.2),
            Remedy(setting="data", advice="add rows, above all for the classes with the most errors"),
            remedy(given, "rank", "lower it", factor=0.5),
            raised(given, "weight_decay", "raise it", least=0.1),
            *([raised(given, "dropout", "raise it", least=0.1)] if known(given, "dropout") else ()),
        ),
    )


def _metric_kept(points: list[CurvePoint], best_step: int) -> str:
    """A sentence when a validation metric other than the loss is at least as good at the end as at the lowest loss."""
    for name in sorted({p.name for p in points if p.split == "validation" and p.name != "loss"}):
        values = series(points, "validation", name)
        at_best = [v for step, v in values if step <= best_step]
        if at_best and values[-1][0] > best_step and values[-1][1] >= at_best[-1]:
            return f"validation {name} did not fall with it: {at_best[-1]:.3f} at step {best_step}, {values[-1][1]:.3f} at the end"
    return ""


def _flat(smoothed: Window, given: Settings) -> Diagnosis | None:
    if smoothed.last <= (1 - FLAT) * smoothed.first:
        return None
    return Diagnosis(
        finding="underfitting",
        text="The model underfits: the training loss hardly moved, so little was learned.",
        evidence=(f"training loss went from {smoothed.first:.3f} to {smoothed.last:.3f}",),
        remedies=(
            *faster(given, "raise it by 3 to 10 times", 5.0),
            remedy(given, "rank", "raise it", factor=2.0),
            Remedy(setting="data", advice="check that the prompt holds what the answer needs"),
        ),
    )


def _still_falling(smoothed: Window, held: Values, points: list[CurvePoint], given: Settings) -> Diagnosis | None:
    (step_then, then), (step_now, now) = held[(2 * (len(held) - 1)) // 3], held[-1]
    lowest = min(v for _, v in held)
    if now > lowest or now > (1 - STILL_FALLING) * then or smoothed.last >= smoothed.first or _perfect(points):
        return None
    return Diagnosis(
        finding="underfitting",
        text="The model underfits: both losses were still falling when the training ended, so it stopped too early.",
        evidence=(
            f"validation loss still fell from {then:.3f} at step {step_then} to {now:.3f} at step {step_now}, its lowest",
            f"training loss fell from {smoothed.first:.3f} to {smoothed.last:.3f}",
        ),
        remedies=(longer(given, "train longer"), *faster(given, "raise it by about 2 times", 2.0)),
    )


def _perfect(points: list[CurvePoint]) -> bool:
    """Whether a task metric on validation rows is at 1, its best, at the end: there is nothing left to learn longer for."""
    last = max(p.step for p in points if p.split == "validation")
    return any(p.value == 1.0 and p.step == last for p in points if p.split == "validation" and p.name != "loss")


def _healthy(smoothed: Window, held: Values) -> Diagnosis:
    low = min(v for _, v in held)
    return Diagnosis(
        finding="healthy",
        text="The curves look healthy: the training loss fell and the validation loss settled without rising again.",
        evidence=(
            f"training loss fell from {smoothed.first:.3f} to {smoothed.last:.3f}",
            f"validation loss fell from {held[0][1]:.3f} to {held[-1][1]:.3f} (lowest {low:.3f})"
            if held[-1][1] < held[0][1]
            else f"validation loss stayed between {low:.3f} and {max(v for _, v in held):.3f}",
        ),
    )
