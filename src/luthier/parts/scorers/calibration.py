"""What the calibration scorers share: the probability that a model gave to every label, as it is or with a fitted temperature.

One decision: a temperature is fitted on validation rows alone (Guo et al. 2017) and stands in each answer, so the sealed rows are
judged with a number that they had no part in. It changes no answer: the order of the labels stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.scorer import Answer, Measure, Needs, Score, Scorer

FEWEST = 10
"""Rows that a temperature is fitted on, at least."""
COLDEST, HOTTEST = 0.05, 20.0


class CalibrationScorer(Scorer):
    """Base of the scorers of label probabilities; a row's details hold the confidence, whether it was right, and all of them."""

    measure: ClassVar[Measure] = "corpus"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[Needs] = "choices"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    scaling: Literal["none", "temperature"] = Field(
        default="none", description="`temperature`: log-probabilities are divided by a number that is fitted on the validation rows"
    )

    @property
    def name(self) -> str:
        return self.kind if self.scaling == "none" else f"{self.kind}_scaled"

    def __call__(self, example: Example, output: str) -> Score:
        must = f"{self.name} needs the probability of every label"
        raise UserError(must, "an answer in words", str(example.source), "score the labels: `evaluate: {decoding: {kind: labels}}`")

    def score(self, example: Example, answer: Answer) -> Score:
        if len(answer.label_logprobs) < 2 or answer.wanted is None:
            return self(example, answer.text)
        probabilities = softmax(answer.label_logprobs, answer.temperature if self.scaling == "temperature" else 1.0)
        confidence = max(probabilities)
        details = {
            "confidence": confidence,
            "right": float(probabilities.index(confidence) == answer.wanted),
            "wanted": probabilities[answer.wanted],
            "brier": sum((p - (i == answer.wanted)) ** 2 for i, p in enumerate(probabilities)),
            "temperature": answer.temperature if self.scaling == "temperature" else 1.0,
        }
        return Score(self.own(details), details)

    def own(self, details: dict[str, float]) -> float:
        """A row's own score in [0, 1], higher is better."""
        raise NotImplementedError(f"{type(self).__name__} must define own")

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """The temperature, where one was fitted."""
        return {"temperature": scores[0].details["temperature"]} if scores and self.scaling == "temperature" else {}


def softmax(logprobs: Sequence[float], temperature: float) -> list[float]:
    """Shares of exp(logprob / temperature); they sum to 1."""
    top = max(logprobs)
    raised = [math.exp((x - top) / temperature) for x in logprobs]
    total = math.fsum(raised)
    return [x / total for x in raised]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with a confidence in (low, high]: how sure they were on average, and the share that was right with its interval."""

    low: float
    high: float
    num_rows: int
    confidence: float
    right: float
    right_low: float
    right_high: float


def reliability(scores: Sequence[Score], bins: int) -> tuple[Bin, ...]:
    """The points of a reliability plot, from the least sure bin to the surest; bins without rows are left out."""
    from luthier.stats.intervals import wilson

    rows: dict[int, list[dict[str, float]]] = {}
    for score in scores:
        rows.setdefault(bin_of(score.details["confidence"], bins), []).append(score.details)
    out = []
    for i in sorted(rows):
        confidence = math.fsum(d["confidence"] for d in rows[i]) / len(rows[i])
        share = wilson(sum(d["right"] for d in rows[i]), len(rows[i]))
        out.append(Bin(i / bins, (i + 1) / bins, len(rows[i]), confidence, share.value, share.low, share.high))
    return tuple(out)


def bin_of(confidence: float, bins: int) -> int:
    """The place of the bin (low, high] that holds a confidence."""
    return min(bins - 1, max(0, math.ceil(confidence * bins) - 1))


def check_rows(num_rows: int) -> None:
    """Raises UserError for fewer than 10 rows to fit a temperature on."""
    if num_rows < FEWEST:
        must = f"a temperature is fitted on at least {FEWEST} validation rows with the probability of every label"
        raise UserError(must, f"{num_rows} rows", "scaling: temperature", "give more validation rows, or leave scaling out")


def fit_temperature(answers: Sequence[Answer]) -> float:
    """The temperature in [0.05, 20] that makes the wanted labels of these answers most likely.

    Raises UserError for fewer than 10 answers with the probability of every label.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    usable = [a for a in answers if len(a.label_logprobs) >= 2 and a.wanted is not None]
    check_rows(len(usable))
    logprobs = np.array([a.label_logprobs for a in usable], dtype=np.float64)
    wanted = np.array([a.wanted for a in usable])

    def surprise(log_temperature: float) -> float:
        scaled = logprobs / np.exp(log_temperature)
        return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(wanted)), wanted]).mean())

    found = minimize_scalar(surprise, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(found.x))  # type: ignore[attr-defined]
