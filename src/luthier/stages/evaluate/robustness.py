"""Robustness: what becomes of the tuned model's figure on rows of another kind, and when what is asked changes a little.

One decision: other rows are another sample (an unpaired interval), changed rows are the same ones (a paired interval on the rows that
were changed). Where a change may change the right answer, the figure is told and no change of it is called a drop.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from luthier.core.artifacts import Predictions, Robustness, Shift
from luthier.core.files import write_json
from luthier.core.stage import Context, Stage
from luthier.parts.perturbations.contract import Perturbation
from luthier.parts.perturbations.loading import PerturbationConfig
from luthier.parts.scorers import ScorerConfig
from luthier.stages.evaluate.predictions import read_predictions

Rows = list[dict[str, Any]]


class JudgeRobustness(Stage[Robustness]):
    """tuned, baseline: on the sealed rows. The others by name: on other rows, the tuned model on changed sealed rows, the baseline too."""

    tuned: Stage[Predictions]
    baseline: Stage[Predictions]
    out_of_domain: dict[str, tuple[Stage[Predictions], Stage[Predictions]]] = Field(description="tuned and baseline by the set's name")
    perturbed: dict[str, Stage[Predictions]]
    perturbed_baseline: dict[str, Stage[Predictions]] = {}
    perturbations: tuple[PerturbationConfig, ...]
    metric: ScorerConfig
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    seed: int = 0

    def identity(self) -> dict[str, Any]:
        """Every field; the baseline on changed rows only where it is asked."""
        return {name: value for name, value in super().identity().items() if name != "perturbed_baseline" or value}

    def build(self, ctx: Context) -> Robustness:
        """Leaves `robustness.json`: sets in the order of the project file, then perturbations from the largest loss to the largest gain."""
        tuned, baseline = (read_predictions(ctx.get(side).path) for side in (self.tuned, self.baseline))
        sets: list[Shift] = []
        for name, sides in self.out_of_domain.items():
            other = [read_predictions(ctx.get(side).path) for side in sides]
            sets += [self._other(name, "tuned", tuned, other[0]), self._other(name, "baseline", baseline, other[1])]
        changed = [
            self._changed(p, model, clean, read_predictions(ctx.get(asked[p.name]).path))
            for model, clean, asked in (("tuned", tuned, self.perturbed), ("baseline", baseline, self.perturbed_baseline))
            for p in self.perturbations
            if p.name in asked
        ]
        found = Robustness(shifts=(*sets, *sorted(changed, key=lambda s: (s.change is None, s.change or 0.0))))
        write_json(ctx.dir / "robustness.json", found.model_dump(mode="json"))
        return found

    def _other(self, name: str, model: Any, before: Rows, after: Rows) -> Shift:
        """Another sample of rows."""
        from luthier.parts.scorers.summary import change_between

        change = change_between(self.metric, before, after, self.alpha, self.seed)
        return self._shift(name, "out of domain", model, (before, after), change)

    def _changed(self, perturbation: Perturbation, model: Any, clean: Rows, after: Rows) -> Shift:
        """The same rows, changed."""
        from luthier.parts.scorers.summary import gain_of_rows
        from luthier.stats.intervals import wilson

        by_key = {row["key"]: row for row in clean}
        before = [by_key[row["key"]] for row in after]
        change = gain_of_rows(self.metric, after, before, self.alpha, self.seed) if perturbation.keeps_answer else None
        moved = wilson(sum(a["output"] != b["output"] for a, b in zip(before, after, strict=True)), len(after), self.alpha)
        shift = self._shift(perturbation.name, "perturbation", model, (before, after), change)
        figures = {"answers_changed": moved.value, "answers_changed_low": moved.low, "answers_changed_high": moved.high}
        return shift.model_copy(update={**figures, "num_left_out": len(clean) - len(after)})

    def _shift(self, name: str, kind: Any, model: Any, sides: tuple[Rows, Rows], change: Any) -> Shift:
        from luthier.parts.scorers.summary import estimate_rows

        before, after = (estimate_rows(self.metric, rows, self.seed, self.alpha) for rows in sides)
        moved = (
            {}
            if change is None
            else {"change": change.value, "change_low": change.low, "change_high": change.high, "method": change.method}
        )
        return Shift(
            name=name,
            kind=kind,
            model=model,
            metric=self.metric.name,
            before=before.value,
            after=after.value,
            after_low=after.low,
            after_high=after.high,
            num_rows=after.n,
            **moved,
        )
