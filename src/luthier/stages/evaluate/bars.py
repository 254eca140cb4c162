"""JudgeBars: does the tuned model reach what the objective asks of each metric, on the sealed rows?

One decision: the figures are computed again from the answers, at the level of the project, so that the interval that decides
is the interval that is shown.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from luthier.core.artifacts import BarOutcome, Bars, Predictions
from luthier.core.config import Config
from luthier.core.files import write_json
from luthier.core.stage import Context, Stage
from luthier.parts.bars import Bar
from luthier.parts.scorers import ScorerConfig
from luthier.stages.evaluate.judge import paired
from luthier.stages.evaluate.predictions import read_predictions

Rows = list[dict[str, Any]]


class MetricBar(Config):
    """A metric and its bar."""

    metric: ScorerConfig
    bar: Bar


class JudgeBars(Stage[Bars]):
    """Each bar is met, not met or not proven. baselines: evaluations of the same rows by the name that a bar gives them."""

    tuned: Stage[Predictions]
    baselines: dict[str, Stage[Predictions]]
    bars: tuple[MetricBar, ...] = Field(min_length=1)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    seed: int = 0

    def build(self, ctx: Context) -> Bars:
        """Leaves `bars.json`."""
        rows = read_predictions(ctx.get(self.tuned).path)
        found = Bars(bars=tuple(outcome for entry in self.bars for outcome in self._judged(entry, rows, ctx)))
        write_json(ctx.dir / "bars.json", found.model_dump(mode="json"))
        return found

    def _judged(self, entry: MetricBar, rows: Rows, ctx: Context) -> list[BarOutcome]:
        bar, out = entry.bar, []
        if bar.at_least is not None:
            out.append(self._of_figure("at_least", bar.at_least, entry.metric, rows))
        if bar.at_most is not None:
            out.append(self._of_figure("at_most", bar.at_most, entry.metric, rows))
        if bar.no_worse_than is not None:
            out.append(self._of_difference(bar.no_worse_than.by, bar.no_worse_than.baseline, entry.metric, ctx))
        return out

    def _of_figure(self, kind: Any, bar: float, metric: Any, rows: Rows) -> BarOutcome:
        from luthier.parts.scorers.summary import estimate_rows
        from luthier.stats.bars import judge_bar

        e = estimate_rows(metric, rows, self.seed, self.alpha)
        outcome = judge_bar(kind, bar, e.low, e.high)
        return BarOutcome(
            metric=metric.name, kind=kind, bar=bar, value=e.value, low=e.low, high=e.high, num_rows=e.n, method=e.method, outcome=outcome
        )

    def _of_difference(self, margin: float, baseline: str, metric: Any, ctx: Context) -> BarOutcome:
        from luthier.parts.scorers.summary import gain_of_rows
        from luthier.stats.bars import judge_bar

        rows = paired(ctx.get(self.tuned), ctx.get(self.baselines[baseline]))
        e = gain_of_rows(metric, [a for a, _ in rows], [b for _, b in rows], self.alpha, self.seed)
        return BarOutcome(
            metric=metric.name,
            kind="no_worse_than",
            bar=margin,
            against=baseline,
            value=e.value,
            low=e.low,
            high=e.high,
            num_rows=e.n,
            method=e.method,
            outcome=judge_bar("no_worse_than", margin, e.low, e.high),
        )
