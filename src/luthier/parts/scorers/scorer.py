"""What a scorer is: a frozen config that is called with a row and an answer, and knows how its scores add up.

One decision: a corpus figure (micro or macro F1) is a function of summed per-row counts, so the same scorer gives the
figure, its interval and the paired verdict. `measure` says which statistics fit: right or wrong (`binary`), a mean of
per-row scores (`mean`), or a function of counts (`corpus`). A row that could not be scored is no zero: it has no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from luthier.core.config import Config
from luthier.core.records import Example

if TYPE_CHECKING:
    import numpy as np

Measure = Literal["binary", "mean", "corpus"]
Needs = Literal["text", "choices", "reference_logprob"]
Unit = Literal["share", "number"]
"""How a figure is read: a share of 1, shown in per cent, or a number."""
WRITING = ("answer", "chat", "rewrite", "summarise", "translate", "code", "sql")
"""The tasks whose answers are free text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model gave to one row: its text, and what it was sure of where a scorer needs that.

    label_logprobs: of each choice, with `wanted` as the place of the row's own answer, to be divided by `temperature`.
    reference_logprob: summed over the `reference_tokens` tokens of the row's own answer, end of turn included.
    """

    text: str
    label_logprobs: tuple[float, ...] = ()
    wanted: int | None = None
    temperature: float = 1.0
    reference_logprob: float | None = None
    reference_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """One row's score in [0, 1] and what it was made of (plain JSON values). `value` is None where the row is unscored."""

    value: float | None
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.value is not None and not 0.0 <= self.value <= 1.0:
            raise ValueError(f"a score must lie in [0, 1], got {self.value}")


class Scorer(Config):
    """Base of every scorer. A subclass gives `kind: Literal[...]` with its name as default, `measure` and `__call__`.

    bounds: the least and greatest figure, as far as there are any.
    needs: what of an Answer it reads beside the text. tasks: those that it fits, any when empty. needs_reference: whether a
    row must have an answer of its own. stored: a verdict takes the scores that the evaluation kept, because asking again would cost
    or differ; such a scorer's name must change with its settings.
    """

    measure: ClassVar[Measure] = "mean"
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[Unit] = "share"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[Needs] = "text"
    tasks: ClassVar[tuple[str, ...]] = ()
    needs_reference: ClassVar[bool] = True
    stored: ClassVar[bool] = False
    version: ClassVar[int] = 1

    kind: str

    @property
    def name(self) -> str:
        """What the figure is called in tables and reports."""
        return self.kind

    def __call__(self, example: Example, output: str) -> Score:
        """Score one answer. Raises UserError when the example itself cannot be scored."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__")

    def score(self, example: Example, answer: Answer) -> Score:
        """Score one answer with all that is known of it; the text alone unless a scorer needs more."""
        return self(example, answer.text)

    def score_all(self, examples: Sequence[Example], answers: Sequence[Answer]) -> list[Score]:
        """One score for each row; a scorer that is quicker with many at once overrides this."""
        return [self.score(example, answer) for example, answer in zip(examples, answers, strict=True)]

    def check(self, examples: Sequence[Example]) -> None:
        """Look at the rows before any model is asked. Raises UserError for rows that this scorer can never score."""
        if self.needs_reference:
            refuse_empty_references(self, examples)

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Per-row sufficient counts [n, k] of scored rows, the same columns for any answers to the same rows."""
        import numpy as np

        return np.array([(s.value, 1.0) for s in scores], dtype=np.float64).reshape(len(scores), 2)

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """The figure from summed counts: [..., k] -> [...]."""
        return totals[..., 0] / totals[..., 1]

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """Further figures of these rows, without intervals; none unless a scorer has some."""
        return {}

    def aggregate(self, scores: Sequence[Score]) -> float:
        """The figure of these rows, unscored ones left out. Raises UserError when there are none."""
        from luthier.core.errors import UserError

        scored = [s for s in scores if s.value is not None]
        if not scored:
            reason = f"0 scored rows of {len(scores)}: {scores[0].details.get('reason', 'no reason')}" if scores else "0 rows"
            raise UserError("at least one row is needed for a score", reason, self.name)
        return float(self.statistic(self.counts(scored).sum(axis=0)))


def refuse_unreadable_references(scorer: Scorer, examples: Sequence[Example]) -> None:
    """Raises UserError, as the scorer words it, when a row's own answer is empty or is not of the form that the scorer reads."""
    refuse_empty_references(scorer, examples)
    for example in examples:
        scorer(example, "")


def refuse_empty_references(scorer: Scorer, examples: Sequence[Example]) -> None:
    """Raises UserError when a row has no answer of its own to compare with: how many, and where the first is."""
    from luthier.core.errors import UserError

    empty = [e for e in examples if not e.reference.strip()]
    if empty:
        must = f"{scorer.name} compares with a row's own answer, which must not be empty"
        raise UserError(must, f"{len(empty)} of {len(examples)} rows", f"the first is {empty[0].source}", "drop them: `data.clean`")
