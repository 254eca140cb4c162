"""Bars of an objective: what each metric must reach, as a project file says it.

One decision: a bar names a metric that the objective measures, in that metric's own unit and direction; a bar that could never
fail or never hold is an error, because it is always a slip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from luthier.core.config import Config
from luthier.core.errors import did_you_mean
from luthier.parts.scorers import Scorer

OPPONENT = "opponent"


class NoWorseThan(Config):
    """The tuned model may lose at most `by`, in the metric's unit, against a way of asking the untuned base on the same rows."""

    baseline: str = Field(default=OPPONENT, description="`opponent`, the one of the verdict, or the name of one of `evaluate.baselines`")
    by: float = Field(default=0.0, ge=0, description="the loss that is still no worse")


class Bar(Config):
    """What a metric must reach. Judged on the ends of its interval at 1 - `evaluate.alpha`: met, not met or not proven."""

    at_least: float | None = Field(default=None, description="the whole interval lies at or above it")
    at_most: float | None = Field(default=None, description="the whole interval lies at or below it")
    no_worse_than: NoWorseThan | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_mapping(cls, value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"a bar must say which way it is, as {{at_least: {value:g}}} or {{at_most: {value:g}}}, got {value:g}")
        return value

    @model_validator(mode="after")
    def _something(self) -> Bar:
        if self.at_least is None and self.at_most is None and self.no_worse_than is None:
            raise ValueError("a bar must have at_least, at_most or no_worse_than")
        return self


def check_bars(bars: Mapping[str, Bar], scorers: Sequence[Scorer]) -> None:
    """Raise ValueError for a bar on a metric that is not measured, or one that its metric cannot meet or cannot miss."""
    known = {s.name: s for s in scorers} if bars else {}
    for name, bar in bars.items():
        if name not in known:
            fix = did_you_mean(name, known)
            raise ValueError(f"a bar must name a metric of the objective, got {name}; {fix}, or list it under `metrics`")
        scorer, better = known[name], "higher" if known[name].higher_is_better else "lower"
        wrong = bar.at_most if scorer.higher_is_better else bar.at_least
        if wrong is not None:
            right = "at_least" if scorer.higher_is_better else "at_most"
            raise ValueError(
                f"{better} is better for {name}: its bar is `{right}`, got {'at_most' if right == 'at_least' else 'at_least'}={wrong:g}"
            )
        value = bar.at_least if scorer.higher_is_better else bar.at_most
        if value is not None and scorer.unit == "share" and not 0 <= value <= 1:
            hint = f"; did you mean {value / 100:g}?" if 1 < value <= 100 else ""
            raise ValueError(f"{name} is a share from 0 to 1, got the bar {value:g}{hint}")


def check_baselines(bars: Mapping[str, Bar], names: Sequence[str]) -> None:
    """Raise ValueError for a baseline that the project does not have."""
    for metric, bar in bars.items():
        wanted = bar.no_worse_than.baseline if bar.no_worse_than else OPPONENT
        if wanted != OPPONENT and wanted not in names:
            raise ValueError(
                f"the bar of {metric} must name one of evaluate.baselines, got {wanted}; {did_you_mean(wanted, [OPPONENT, *names])}"
            )
