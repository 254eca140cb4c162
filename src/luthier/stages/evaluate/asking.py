"""Asking one model about rows: outputs, and beside them what the scorers of an evaluation need.

One decision: what a scorer needs beyond the text (label probabilities, the log-probability of a row's own answer, a temperature
fitted on validation rows) is asked for here, once, and stands in `predictions.jsonl`, so that every figure can be computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.core.artifacts import BaseModel, Dataset, Prompting
from luthier.core.records import Example
from luthier.core.rows import choices_of
from luthier.core.stage import Built, Context
from luthier.engine.decoding import Decoding
from luthier.engine.predictor import Output
from luthier.parts.prompting import ZERO_SHOT
from luthier.parts.prompting import Prompting as Way
from luthier.parts.scorers import Answer, Scorer
from luthier.parts.scorers.references import with_references
from luthier.stages.evaluate.model import load_predictor
from luthier.stages.evaluate.opponents import is_opponent, load_opponent
from luthier.stages.evaluate.prompting import read_prompting

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Asker:
    """One model and the way in which it is asked. chosen: the opponent's or the way's name, empty where nothing was chosen."""

    predictor: Any
    way: Way
    shown: tuple[Example, ...]
    choices: tuple[str, ...]
    chosen: str

    def outputs(self, rows: Sequence[Example], tell: Tell) -> list[Output]:
        """One output for each row."""
        asked = [self.way.ask(row, self.shown) for row in rows]
        return self.predictor.predict(asked, tell, [row.tools for row in rows])

    def answers(self, rows: Sequence[Example], outputs: Sequence[Output]) -> list[Answer]:
        """Outputs as scorers read them, with the place of each row's own label among the choices."""
        place = {text: i for i, text in enumerate(self.choices)}
        for o in outputs:  # the probabilities must be in the order of the choices: the chosen one is the likeliest
            assert not o.label_logprobs or o.label_logprobs[place[o.text]] >= max(o.label_logprobs) - 1e-9
        return [
            Answer(o.text, o.label_logprobs, place.get(row.reference)) if o.label_logprobs else Answer(o.text)
            for row, o in zip(rows, outputs, strict=True)
        ]

    def with_references(self, rows: Sequence[Example], answers: Sequence[Answer], tell: Tell) -> list[Answer]:
        """The same with the log-probability of each row's own answer. Raises UserError for a model that writes no text."""
        return with_references(self.predictor, [self.way.ask(row, self.shown) for row in rows], rows, answers, tell)


def load_asker(ctx: Context, model: Built, dataset: Built[Dataset], decoding: Decoding, prompting: Built[Prompting] | None) -> Asker:
    """What asks `model`: the way that won on validation rows where there is one, zero-shot otherwise."""
    choices = choices_of(dataset)
    if prompting is not None and is_opponent(prompting):
        base: BaseModel = model.result
        return Asker(load_opponent(prompting, base, ctx.execution), ZERO_SHOT, (), choices, prompting.result.chosen)
    way, shown = (ZERO_SHOT, ()) if prompting is None else read_prompting(prompting, dataset)
    predictor = load_predictor(model, ctx.execution, decoding, choices)
    return Asker(predictor, way, shown, choices, "" if prompting is None else way.name)


def wants_temperature(scorers: Sequence[Scorer]) -> bool:
    """Whether any of them reads label probabilities through a fitted temperature."""
    from luthier.parts.scorers.calibration import CalibrationScorer

    return any(isinstance(s, CalibrationScorer) and s.scaling == "temperature" for s in scorers)
