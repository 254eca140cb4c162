"""Evaluate: one model's answers to one split, scored row by row, with an interval on every number.

One decision: the answers and their scores are kept (`predictions.jsonl`), and every number is computed
from that file's rows, so a figure can always be taken apart again.
"""

from __future__ import annotations

import time
from typing import Literal

from luthier.core.artifacts import Dataset, Predictions, Prompting
from luthier.core.events import Note, Progress
from luthier.core.files import write_json
from luthier.core.records import Example
from luthier.core.rows import choices_of, read_split
from luthier.core.stage import Context, Stage
from luthier.engine.decoding import Decoding
from luthier.engine.predictor import Output
from luthier.parts.prompting import ZERO_SHOT
from luthier.parts.scorers import ScorerConfig
from luthier.stages.evaluate.model import load_predictor, model_name
from luthier.stages.evaluate.opponents import is_opponent, load_opponent
from luthier.stages.evaluate.predictions import write_predictions
from luthier.stages.evaluate.prompting import read_prompting


class Evaluate(Stage[Predictions]):
    """`model` on `split` of `dataset`. With `prompting`, a base is asked the way that won on validation rows."""

    model: Stage  # of a BaseModel or a Checkpoint
    dataset: Stage[Dataset]
    split: Literal["train", "validation", "test"]
    metric: ScorerConfig
    others: tuple[ScorerConfig, ...] = ()
    decoding: Decoding = Decoding()
    prompting: Stage[Prompting] | None = None

    def build(self, ctx: Context) -> Predictions:
        """Leaves `predictions.jsonl` and `scores.json`."""
        from luthier.parts.scorers.summary import evaluate

        start = time.monotonic()
        model, dataset = ctx.get(self.model), ctx.get(self.dataset)
        rows = read_split(dataset, self.split)
        outputs, way = self._answers(ctx, rows)
        cut = sum(o.finish == "length" for o in outputs)
        if cut:
            limit = f"the limit of {self.decoding.max_new_tokens} tokens (evaluate.decoding.max_new_tokens)"
            lacks = " before the JSON was complete" if self.decoding.json_schema else " without a stop string" if self.decoding.stop else ""
            ctx.observer(Note(f"{cut} of {len(rows)} answers to {self.split} rows reached {limit}{lacks}", "warning"))
        summary = evaluate((self.metric, *self.others), rows, [o.text for o in outputs])
        write_predictions(ctx.dir / "predictions.jsonl", rows, outputs, summary.rows)
        write_json(ctx.dir / "scores.json", summary.to_json())
        name = model_name(model) + (f", {way}" if way else "")
        estimates = {e_name: {"value": e.value, "low": e.low, "high": e.high, "n": e.n} for e_name, e in summary.estimates.items()}
        return Predictions(
            model=name,
            split=self.split,
            metric=self.metric.name,
            num_rows=len(rows),
            num_cut=cut,
            scores=estimates,
            seconds=round(time.monotonic() - start, 3),
        )

    def _answers(self, ctx: Context, rows: list[Example]) -> tuple[list[Output], str]:
        """The answers, and the name of the opponent or the way of asking that was chosen (empty without one)."""
        model, dataset = ctx.get(self.model), ctx.get(self.dataset)
        prompting = None if self.prompting is None else ctx.get(self.prompting)
        if prompting is not None and is_opponent(prompting):
            opponent = load_opponent(prompting, model.result, ctx.execution)
            return opponent.predict([row.prompt for row in rows], lambda done, total: self._tell(ctx, done, total)), prompting.result.chosen
        way, shown = (ZERO_SHOT, ()) if prompting is None else read_prompting(prompting, dataset)
        predictor = load_predictor(model, ctx.execution, self.decoding, choices_of(dataset))
        asked, tools = [way.ask(row, shown) for row in rows], [row.tools for row in rows]
        outputs = predictor.predict(asked, lambda done, total: self._tell(ctx, done, total), tools)
        return outputs, "" if prompting is None else way.name

    def _tell(self, ctx: Context, done: int, total: int) -> None:
        ctx.observer(Progress("evaluate", done, total, f"{self.split} rows"))
        if ctx.stop_requested():
            ctx.stop(f"evaluating {self.split} rows ({done} of {total}); this evaluation starts over")
