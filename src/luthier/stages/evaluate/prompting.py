"""ChoosePrompting: the opponent of the verdict, the best way of asking the untuned base.

One decision: the ways are compared on validation rows only; the sealed rows see the winner alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from luthier.core.artifacts import BaseModel, Dataset, Prompting
from luthier.core.errors import UserError
from luthier.core.events import Progress
from luthier.core.files import write_json
from luthier.core.records import Example
from luthier.core.rows import choices_of, read_split
from luthier.core.stage import Built, Context, Stage
from luthier.engine.decoding import Decoding
from luthier.engine.predictor import Answerer
from luthier.parts.prompting import Prompting as Way
from luthier.parts.scorers import Answer, ScorerConfig
from luthier.parts.scorers.references import wants_references, with_references
from luthier.stages.evaluate.model import load_predictor
from luthier.stages.evaluate.opponents import choose_opponent


class ChoosePrompting(Stage[Prompting]):
    """Ask `base` in every way of `ways` on the validation rows; keep the best by `metric` (first on a tie).

    An encoder cannot be asked: its opponents are those of `evaluate.opponents`.
    """

    base: Stage[BaseModel]
    dataset: Stage[Dataset]
    ways: tuple[Way, ...]
    metric: ScorerConfig
    decoding: Decoding

    def build(self, ctx: Context) -> Prompting:
        """Leaves `prompting.json`: the winner, its demonstrations' keys, and every candidate's figures."""
        base, dataset = ctx.get(self.base), ctx.get(self.dataset)
        self.metric.check(read_split(dataset, "validation"))
        if base.result.kind == "encoder":
            return choose_opponent(base.result, dataset, self.ways, self.metric, ctx)
        predictor = load_predictor(base, ctx.execution, self.decoding, choices_of(dataset))
        rows, training = read_split(dataset, "validation"), read_split(dataset, "train")
        estimates = {way.name: self._try(way, predictor, rows, training, ctx) for way in self.ways}
        figures = {name: e["value"] for name, e in estimates.items()}
        best = max(figures.values()) if self.metric.higher_is_better else min(figures.values())
        chosen = next(way for way in self.ways if figures[way.name] == best)
        shown = [e.key for e in chosen.demonstrations(training)]
        write_json(ctx.dir / "prompting.json", {"chosen": chosen.model_dump(), "demonstrations": shown, "estimates": estimates})
        return Prompting(chosen=chosen.name, metric=self.metric.name, validation=figures)

    def _try(self, way: Way, predictor: Answerer, rows: Sequence[Example], training: Sequence[Example], ctx: Context) -> dict[str, float]:
        """The metric of one way with its interval, remembered in scratch so that a killed run does not ask again."""
        from luthier.parts.scorers.summary import evaluate

        remembered = ctx.dir / "scratch" / f"{way.name}.json"
        if remembered.exists():
            return json.loads(remembered.read_text())

        def tell(done: int, total: int) -> None:
            ctx.observer(Progress("baselines", done, total, f"validation rows, {way.name}"))
            if ctx.stop_requested():
                ctx.stop(f"the baseline {way.name} ({done} of {total} rows)")

        shown = way.demonstrations(training)
        asked = [way.ask(row, shown) for row in rows]
        answers = [Answer(o.text) for o in predictor.predict(asked, tell, [row.tools for row in rows])]
        if wants_references((self.metric,)):
            answers = with_references(predictor, asked, rows, answers, tell)
        e = evaluate((self.metric,), rows, answers).estimates[self.metric.name]
        figure = {"value": e.value, "low": e.low, "high": e.high, "n": e.n}
        write_json(remembered, figure)
        return figure


class AskAs(Stage[Prompting]):
    """One way of asking, named and not chosen: what a comparison of all ways evaluates each with."""

    dataset: Stage[Dataset]
    way: Way

    def build(self, ctx: Context) -> Prompting:
        """Leaves `prompting.json`. Raises UserError for more shots than training rows."""
        shown = [e.key for e in self.way.demonstrations(read_split(ctx.get(self.dataset), "train"))]
        write_json(ctx.dir / "prompting.json", {"chosen": self.way.model_dump(), "demonstrations": shown, "estimates": {}})
        return Prompting(chosen=self.way.name, metric="", validation={})


def read_prompting(prompting: Built[Prompting], dataset: Built[Dataset]) -> tuple[Way, tuple[Example, ...]]:
    """The chosen way and its demonstrations, looked up by key in the training rows."""
    body = json.loads((prompting.path / "prompting.json").read_text(encoding="utf-8"))
    by_key = {e.key: e for e in read_split(dataset, "train")}
    missing = [k for k in body["demonstrations"] if k not in by_key]
    if missing:
        raise UserError(
            "the demonstrations must be training rows of the same dataset", f"{len(missing)} of them unknown", str(prompting.path)
        )
    return Way.model_validate(body["chosen"]), tuple(by_key[k] for k in body["demonstrations"])
