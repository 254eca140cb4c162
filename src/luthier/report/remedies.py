"""Remedies: the setting to try next, what it was, and the line of the project file that tries it.

One decision: a line is offered only where the run's own value is known, so it can be put into the file as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping

from luthier.report.numbers import setting
from luthier.report.sections import Remedy

Settings = Mapping[str, object]
"""A run's settings below `train`, by dotted name: `epochs`, `learning_rate`, `method.rank` ..."""
USUAL_RATE = "usual_rate"
"""Among the settings: the highest learning rate that is recommended for the run's method. No setting of a project file."""


def remedy(given: Settings, name: str, advice: str, factor: float | None = None, to: float | None = None) -> Remedy:
    """A remedy that names the value the run had, when it is known, and the line that multiplies it by `factor` or sets it `to`."""
    for key in sorted(given, key=len):
        if key == name or key.endswith(f".{name}"):
            return Remedy(setting=key, advice=f"{advice} (it was {setting(given[key])})", line=_line(key, given[key], factor, to))
    return Remedy(setting=name, advice=advice)


def shorter(given: Settings, best_step: int, steps_per_epoch: int | None, advice: str) -> Remedy:
    """Train for about `best_step` steps, in the unit in which the run's length was given."""
    if given.get("steps") is not None:
        return remedy(given, "steps", advice, to=best_step or None)
    return remedy(given, "epochs", advice, to=best_step / steps_per_epoch if best_step and steps_per_epoch else None)


def raised(given: Settings, name: str, advice: str, least: float) -> Remedy:
    """Set it to `least`, or to half more than it was where it was that high already."""
    was = next((v for k, v in given.items() if k == name or k.endswith(f".{name}")), None)
    high = isinstance(was, (int, float)) and was >= least
    return remedy(given, name, advice, factor=1.5 if high else None, to=None if high else least)


def faster(given: Settings, advice: str, factor: float) -> tuple[Remedy, ...]:
    """Raise the learning rate, up to the highest usual one; nothing for a run that was there already."""
    was, most = (next((v for k, v in given.items() if k == name or k.endswith(f".{name}")), None) for name in ("learning_rate", USUAL_RATE))
    if not isinstance(was, (int, float)):
        return (remedy(given, "learning_rate", advice),)
    room = (most if isinstance(most, (int, float)) else 1.0) / was
    return (remedy(given, "learning_rate", advice, factor=min(factor, room)),) if room > 1 else ()


def longer(given: Settings, advice: str) -> Remedy:
    """Train twice as long."""
    return remedy(given, "steps" if given.get("steps") is not None else "epochs", advice, factor=2.0)


def known(given: Settings, name: str) -> bool:
    """Whether the run had such a setting."""
    return any(key == name or key.endswith(f".{name}") for key in given)


def _line(key: str, was: object, factor: float | None, to: float | None) -> str:
    if to is None and factor is not None and isinstance(was, (int, float)) and was:
        to = was * factor
    if to is None:
        return ""
    value = max(1, round(to)) if isinstance(was, int) and not isinstance(was, bool) else float(f"{to:.2g}")
    return "" if value == was else f"train.{key}: {setting(value)}"
