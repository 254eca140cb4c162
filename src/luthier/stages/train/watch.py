"""Watching a run: loss and task metric on validation rows and on a sample of training rows, and the answers to a few fixed rows.

One decision: progress is reported row by row and Ctrl-C is answered inside an evaluation too; what it
measured is thrown away then, because the weights are saved before an evaluation begins.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from luthier.core.events import Progress
from luthier.core.files import append_bytes
from luthier.core.records import Example
from luthier.core.stage import Context
from luthier.engine.predictor import Answerer, Output
from luthier.parts.scorers import Answer, Scorer
from luthier.parts.scorers.references import wants_references, with_references
from luthier.stages.train.general import General
from luthier.stages.train.loop import SAMPLES, Objective


@dataclass(frozen=True)
class Watch:
    """Callable with a step; returns `validation/loss`, `validation/<metric>`, `train_sample/<metric>`, and the general probe's.

    shown: the validation rows, by number, whose answers are kept at each evaluation and before the first step.
    """

    predictor: Answerer
    scorer: Scorer
    validation: tuple[Example, ...]
    sample: tuple[Example, ...]
    shown: tuple[int, ...]
    by: str
    ctx: Context
    general: General | None = None

    @property
    def objective(self) -> Objective:
        """The validation number that picks the best checkpoint."""
        if self.by == "loss":
            return Objective("validation/loss", higher_is_better=False)
        return Objective(f"validation/{self.scorer.name}", self.scorer.higher_is_better)

    def __call__(self, step: int) -> dict[str, float]:
        """Figures at `step`. Before the first step only the loss: the metric of the untuned base is a baseline's business."""
        nll = self.predictor.mean_nll(self.validation, lambda done, total: self._progress(done, total, "validation rows"))
        figures = {"validation/loss": nll, **(self.general(step) if self.general else {})}
        if step == 0:
            rows = tuple(self.validation[i] for i in self.shown)
            self._keep(step, rows, self._answers(rows, "samples"))
            return figures
        outputs = self._answers(self.validation, "validation rows")
        self._keep(step, tuple(self.validation[i] for i in self.shown), [outputs[i] for i in self.shown])
        figures[f"validation/{self.scorer.name}"] = self._score(self.validation, outputs)
        if self.sample:
            figures[f"train_sample/{self.scorer.name}"] = self._score(self.sample, self._answers(self.sample, "training rows"))
        return figures

    def _answers(self, rows: tuple[Example, ...], unit: str) -> list[Output]:
        if not rows:
            return []
        tools = [r.tools for r in rows]
        return self.predictor.predict([r.prompt for r in rows], lambda done, total: self._progress(done, total, unit), tools)

    def _score(self, rows: tuple[Example, ...], outputs: list[Output]) -> float:
        answers = [Answer(output.text) for output in outputs]
        if wants_references((self.scorer,)):
            asked = [r.prompt for r in rows]
            answers = with_references(self.predictor, asked, rows, answers, lambda done, total: self._progress(done, total, "references"))
        return self.scorer.aggregate(self.scorer.score_all(rows, answers))

    def _keep(self, step: int, rows: tuple[Example, ...], outputs: list[Output]) -> None:
        """Append the answers to `samples.jsonl`."""
        for row, output in zip(rows, outputs, strict=True):
            prompt = "\n".join(m.content for m in row.prompt if m.role != "system")
            line = {"step": step, "key": row.key, "prompt": prompt, "reference": row.reference, "answer": output.text}
            append_bytes(self.ctx.dir / SAMPLES, (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))

    def _progress(self, done: int, total: int, unit: str) -> None:
        self.ctx.observer(Progress("evaluation", done, total, unit))
        if self.ctx.stop_requested():
            self.ctx.stop("what was trained is saved; the evaluation that was under way starts over")
