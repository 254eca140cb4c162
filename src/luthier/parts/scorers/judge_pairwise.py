"""A language model as judge of two answers: which is better, asked in both orders.

One decision: an answer wins a row only as far as it wins from both places: 1 for twice, 0.5 for a tie or a judge that follows the place,
0 for never. A row with one order unanswered has no score.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from luthier.core.keys import digest
from luthier.core.records import Example, Message
from luthier.parts.backends import BackendConfig, Reply
from luthier.parts.scorers.judging import agreement, conversation, people_of, question, read_winner
from luthier.parts.scorers.scorer import WRITING, Answer, Score, Scorer, refuse_empty_references

_SIDES = ("own", "other", "tie")


class JudgePairwise(Scorer):
    """The answer against the row's own answer, or (`prefer`) against another model's. 0.5 is no difference."""

    tasks: ClassVar[tuple[str, ...]] = WRITING
    stored: ClassVar[bool] = True

    kind: Literal["judge_pairwise"] = "judge_pairwise"
    backend: BackendConfig = Field(description="who judges, such as `{kind: local, model: smollm2-135m-instruct}`")
    rubric: str = Field(min_length=1, description="what makes one answer better than another, in your words")
    people: str | None = Field(default=None, description="the column (kept by `meta`) with people's choice: own, other or tie")
    other: str | None = Field(
        default=None, description="the column (kept by `meta`) with the answer that people compared the row's own with"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> JudgePairwise:
        if (self.people is None) != (self.other is None):
            raise ValueError("`people` and `other` must be given together: what people chose, and what the row's own answer stood against")
        return self

    @property
    def name(self) -> str:
        """With six digits of its settings: the choices of two rubrics or two models never pass for one."""
        return f"judge_pairwise_{digest(self)[:6]}"

    def __call__(self, example: Example, output: str) -> Score:
        return self.score_all([example], [Answer(output)])[0]

    def score_all(self, examples: Sequence[Example], answers: Sequence[Answer]) -> list[Score]:
        """Each answer against the row's own; where people compared the row's own with another one, the judge does too."""
        chosen = {i: p for i, e in enumerate(examples) if (p := self._people(e)) is not None}
        rated = [examples[i] for i in chosen]
        own, other = [e.reference for e in rated], [str(e.meta.get(self.other or "", "")) for e in rated]
        ones, twos = [a.text for a in answers] + own, [e.reference for e in examples] + other
        scores = self.prefer([*examples, *rated], ones, twos)
        for i, of_own in zip(chosen, scores[len(examples) :], strict=True):
            if of_own.value is not None:
                scores[i] = replace(scores[i], details={**scores[i].details, "people": chosen[i], "choice_of_own": _side(of_own)})
        return scores[: len(examples)]

    def prefer(self, examples: Sequence[Example], ones: Sequence[str], twos: Sequence[str]) -> list[Score]:
        """How far each of `ones` beats that of `twos`; both orders of every row go to the backend in one list."""
        rows = list(zip(examples, ones, twos, strict=True))
        asked = [self._question(e, one, two) for e, one, two in rows] + [self._question(e, two, one) for e, one, two in rows]
        replies = self.backend.ask(asked, ("A", "B", "tie"), read_winner)
        return [_score(first, second) for first, second in zip(replies[: len(rows)], replies[len(rows) :], strict=True)]

    def check(self, examples: Sequence[Example]) -> None:
        """The backend has its key, every row has an answer, and people's choices are known words."""
        refuse_empty_references(self, examples)
        self.backend.check()
        for example in examples:
            self._people(example)

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """How often the two orders disagree, how often the first place won (0.5 is fair), and agreement with people."""
        if not scores:
            return {}
        chosen = [w for s in scores for w in s.details["orders"] if w != "tie"]
        found = {
            "orders_disagree": sum(s.details["orders"] not in (["A", "B"], ["B", "A"], ["tie", "tie"]) for s in scores) / len(scores),
            "first_place": sum(w == "A" for w in chosen) / len(chosen) if chosen else 0.5,
        }
        if self.people is None:
            return found
        both = [(s.details["choice_of_own"], s.details["people"]) for s in scores if "people" in s.details]
        return {**found, **agreement([j for j, _ in both], [p for _, p in both], None)}

    def _people(self, example: Example) -> Hashable | None:
        return None if self.people is None else people_of(self.people, example, _SIDES)

    def _question(self, example: Example, one: str, two: str) -> tuple[Message, ...]:
        instructions = f"You choose the better of two answers of assistants by this rubric:\n{self.rubric}"
        parts = {"conversation": conversation(example), "answer A": one, "answer B": two}
        last = 'Which answer is better by the rubric? Their order means nothing. End with one line: {"winner": "A"}, "B" or "tie"'
        return question(instructions, parts, last)


def _score(first: Reply, second: Reply) -> Score:
    orders = [None if r.text is None else read_winner(r.text) for r in (first, second)]
    if None in orders:
        return Score(None, {"reason": first.reason or second.reason or "the judge's answer cannot be read"})
    won = {"A": 1.0, "B": 0.0, "tie": 0.5}[str(orders[0])] + {"B": 1.0, "A": 0.0, "tie": 0.5}[str(orders[1])]
    return Score(won / 2, {"orders": orders, "said": [first.text, second.text]})


def _side(score: Score) -> str:
    """The judge's choice of a row in people's words."""
    assert score.value is not None
    return "own" if score.value > 0.5 else "other" if score.value < 0.5 else "tie"
