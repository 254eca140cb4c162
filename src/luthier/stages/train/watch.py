"""Watching a run: loss and task metric on validation rows and on a sample of training rows.

One decision: progress is reported row by row and Ctrl-C is answered inside an evaluation too; what it
measured is thrown away then, because the weights are saved before an evaluation begins.
"""

from __future__ import annotations

from dataclasses import dataclass

from luthier.core.events import Progress
from luthier.core.records import Example
from luthier.core.stage import Context
from luthier.engine.predictor import Answerer
from luthier.parts.scorers import Answer, Scorer
from luthier.stages.train.loop import Objective


@dataclass(frozen=True)
class Watch:
    """Callable with a step; returns `validation/loss`, `validation/<metric>`, `train_sample/<metric>`."""

    predictor: Answerer
    scorer: Scorer
    validation: tuple[Example, ...]
    sample: tuple[Example, ...]
    by: str
    ctx: Context

    @property
    def objective(self) -> Objective:
        """The validation number that picks the best checkpoint."""
        if self.by == "loss":
            return Objective("validation/loss", higher_is_better=False)
        return Objective(f"validation/{self.scorer.name}", self.scorer.higher_is_better)

    def __call__(self, step: int) -> dict[str, float]:
        """Figures at `step`. Before the first step only the loss: the metric of the untuned base is a baseline's business."""
        nll = self.predictor.mean_nll(self.validation, lambda done, total: self._progress(done, total, "validation rows"))
        figures = {"validation/loss": nll}
        if step > 0:
            figures[f"validation/{self.scorer.name}"] = self._score(self.validation, "validation rows")
            if self.sample:
                figures[f"train_sample/{self.scorer.name}"] = self._score(self.sample, "training rows")
        return figures

    def _score(self, rows: tuple[Example, ...], unit: str) -> float:
        tools = [r.tools for r in rows]
        outputs = self.predictor.predict([r.prompt for r in rows], lambda done, total: self._progress(done, total, unit), tools)
        return self.scorer.aggregate(self.scorer.score_all(rows, [Answer(output.text) for output in outputs]))

    def _progress(self, done: int, total: int, unit: str) -> None:
        self.ctx.observer(Progress("evaluation", done, total, unit))
        if self.ctx.stop_requested():
            self.ctx.stop("what was trained is saved; the evaluation that was under way starts over")
