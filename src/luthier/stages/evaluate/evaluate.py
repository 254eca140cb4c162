"""Evaluate: one model's answers to one split, scored row by row, with an interval on every number.

One decision: the answers and their scores are kept (`predictions.jsonl`), and every number is computed
from that file's rows, so a figure can always be taken apart again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Literal

from luthier.core.artifacts import Dataset, Predictions, Prompting
from luthier.core.errors import UserError
from luthier.core.events import Note, Progress
from luthier.core.files import write_json
from luthier.core.records import Example
from luthier.core.rows import read_split
from luthier.core.stage import Context, Stage
from luthier.engine.decoding import Decoding
from luthier.engine.predictor import Output
from luthier.parts.scorers import Answer, ScorerConfig
from luthier.parts.scorers.references import wants_references
from luthier.stages.evaluate.asking import Asker, load_asker, wants_temperature
from luthier.stages.evaluate.model import model_name
from luthier.stages.evaluate.predictions import write_predictions


class Evaluate(Stage[Predictions]):
    """`model` on `split` of `dataset`. With `prompting`, a base is asked the way that won on validation rows.

    rows: asked instead of those of `dataset`, whose labels, demonstrations and validation rows stay in use.
    """

    model: Stage  # of a BaseModel or a Checkpoint
    dataset: Stage[Dataset]
    split: Literal["train", "validation", "test"]
    metric: ScorerConfig
    others: tuple[ScorerConfig, ...] = ()
    decoding: Decoding = Decoding()
    prompting: Stage[Prompting] | None = None
    rows: Stage[Dataset] | None = None

    def identity(self) -> dict[str, Any]:
        """Every field; other rows only where there are some."""
        return {name: value for name, value in super().identity().items() if name != "rows" or value is not None}

    def on(self, split: Literal["train", "validation", "test"]) -> Evaluate:
        """The same of another split; on validation rows without the metrics whose temperature is fitted on them."""
        others = tuple(s for s in self.others if split != "validation" or not wants_temperature((s,)))
        return self.model_copy(update={"split": split, "others": others})

    def build(self, ctx: Context) -> Predictions:
        """Leaves `predictions.jsonl` and `scores.json`."""
        from luthier.parts.scorers.summary import evaluate

        start = time.monotonic()
        model, rows = ctx.get(self.model), read_split(ctx.get(self.rows or self.dataset), self.split)
        scorers = (self.metric, *self.others)
        for scorer in scorers:
            scorer.check(rows)
        held_out = self._held_out(ctx)
        prompting = None if self.prompting is None else ctx.get(self.prompting)
        asker = load_asker(ctx, model, ctx.get(self.dataset), self.decoding, prompting)
        outputs = asker.outputs(rows, lambda done, total: self._tell(ctx, done, total))
        self._say_cut(ctx, outputs)
        answers = self._answers(ctx, asker, rows, outputs, held_out)
        summary = evaluate(scorers, rows, answers)
        self._say_unscored(ctx, summary.parts, len(rows))
        write_predictions(ctx.dir / "predictions.jsonl", rows, outputs, answers, summary.rows)
        write_json(ctx.dir / "scores.json", summary.to_json())
        estimates = {e_name: {"value": e.value, "low": e.low, "high": e.high, "n": e.n} for e_name, e in summary.estimates.items()}
        return Predictions(
            model=model_name(model) + (f", {asker.chosen}" if asker.chosen else ""),
            split=self.split,
            metric=self.metric.name,
            num_rows=len(rows),
            num_cut=sum(o.finish == "length" for o in outputs),
            scores=estimates,
            seconds=round(time.monotonic() - start, 3),
        )

    def _held_out(self, ctx: Context) -> list[Example]:
        """The validation rows that a temperature is fitted on; none where no metric wants one. Raises UserError when they cannot serve."""
        from luthier.parts.scorers.calibration import check_rows

        if not wants_temperature((self.metric, *self.others)):
            return []
        if self.split == "validation":
            must = "a temperature is fitted on the validation rows, and must be judged on others"
            raise UserError(must, "split: validation", "scaling: temperature", "evaluate the test rows, or leave scaling out")
        held_out = read_split(ctx.get(self.dataset), "validation")
        check_rows(len(held_out))
        return held_out

    def _answers(self, ctx: Context, asker: Asker, rows: list[Example], outputs: list[Output], held_out: list[Example]) -> list[Answer]:
        """The outputs with all that the scorers need; a temperature is fitted on the validation rows."""
        from luthier.parts.scorers.calibration import fit_temperature

        answers, scorers = asker.answers(rows, outputs), (self.metric, *self.others)
        if held_out:
            found = asker.outputs(held_out, lambda done, total: self._tell(ctx, done, total, "validation"))
            temperature = fit_temperature(asker.answers(held_out, found))
            answers = [replace(a, temperature=temperature) for a in answers]
        if wants_references(scorers):
            answers = asker.with_references(rows, answers, lambda done, total: self._tell(ctx, done, total))
        return answers

    def _say_cut(self, ctx: Context, outputs: list[Output]) -> None:
        cut = sum(o.finish == "length" for o in outputs)
        if cut:
            limit = f"the limit of {self.decoding.max_new_tokens} tokens (evaluate.decoding.max_new_tokens)"
            lacks = " before the JSON was complete" if self.decoding.json_schema else " without a stop string" if self.decoding.stop else ""
            ctx.observer(Note(f"{cut} of {len(outputs)} answers to {self.split} rows reached {limit}{lacks}", "warning"))

    def _say_unscored(self, ctx: Context, parts: dict[str, dict[str, float]], num_rows: int) -> None:
        for name, figures in parts.items():
            if "unscored" in figures:
                ctx.observer(Note(f"{figures['unscored']:.0f} of {num_rows} {self.split} rows have no score of {name}", "warning"))

    def _tell(self, ctx: Context, done: int, total: int, split: str = "") -> None:
        ctx.observer(Progress("evaluate", done, total, f"{split or self.split} rows"))
        if ctx.stop_requested():
            ctx.stop(f"evaluating {self.split} rows ({done} of {total}); this evaluation starts over")
