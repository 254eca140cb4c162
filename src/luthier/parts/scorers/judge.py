"""A language model as judge of one answer: a mark from 1 to `scale` by your rubric.

One decision: a row that the judge did not mark (it was down, slow, or answered nonsense, within the backend's budget of attempts) has
no score, never 0. Where rows hold people's marks of their own answers, the judge marks those answers too, and its agreement with
people is reported beside its figure.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.keys import digest
from luthier.core.records import Example, Message
from luthier.parts.backends import BackendConfig
from luthier.parts.scorers.judging import agreement, conversation, people_of, question, read_mark
from luthier.parts.scorers.scorer import WRITING, Answer, Score, Scorer


class Judge(Scorer):
    """(mark - 1) / (scale - 1). A judge is a model: it has tastes (longer answers, its own style); put people's marks beside it."""

    tasks: ClassVar[tuple[str, ...]] = WRITING
    needs_reference: ClassVar[bool] = False
    stored: ClassVar[bool] = True

    kind: Literal["judge"] = "judge"
    backend: BackendConfig = Field(description="who judges, such as `{kind: local, model: smollm2-135m-instruct}`")
    rubric: str = Field(min_length=1, description="what makes an answer good, in your words, and what the marks mean")
    scale: int = Field(default=5, ge=2, le=10, description="the best mark; 1 is the worst")
    show_reference: bool = Field(default=True, description="the judge sees the row's own answer")
    people: str | None = Field(
        default=None,
        description="the column, kept by the mapping's `meta`, with people's marks of the rows' own answers: the judge marks those too",
    )

    @property
    def name(self) -> str:
        """With six digits of its settings: marks of two rubrics or two models never pass for one."""
        return f"judge_{digest(self)[:6]}"

    def __call__(self, example: Example, output: str) -> Score:
        return self.score_all([example], [Answer(output)])[0]

    def score_all(self, examples: Sequence[Example], answers: Sequence[Answer]) -> list[Score]:
        """Every row is put to the backend in one list, with the own answers of the rows that people have marked."""
        marked = {i: p for i, e in enumerate(examples) if (p := self._people(e)) is not None}
        asked = [self._question(e, a.text, self.show_reference) for e, a in zip(examples, answers, strict=True)]
        asked += [self._question(examples[i], examples[i].reference, shown=False) for i in marked]
        choices = tuple(str(k) for k in self._marks())
        replies = self.backend.ask(asked, choices, lambda text: read_mark(text, self.scale))
        marks = [None if r.text is None else read_mark(r.text, self.scale) for r in replies]
        of_own = dict(zip(marked, marks[len(examples) :], strict=True))
        out = []
        for i, (mark, reply) in enumerate(zip(marks[: len(examples)], replies, strict=False)):
            details = {"people": marked[i], "mark_of_own": of_own[i]} if of_own.get(i) is not None else {}
            if mark is None:
                out.append(Score(None, {"reason": reply.reason or "the judge's answer cannot be read", **details}))
            else:
                out.append(Score((mark - 1) / (self.scale - 1), {"mark": mark, "said": reply.text, **details}))
        return out

    def check(self, examples: Sequence[Example]) -> None:
        """The backend has its key, and people's marks are on the scale."""
        self.backend.check()
        for example in examples:
            self._people(example)

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """Agreement with people: Cohen's kappa with quadratic weights and its interval."""
        if self.people is None:
            return {}
        both = [(s.details["mark_of_own"], s.details["people"]) for s in scores if "people" in s.details]
        return agreement([m for m, _ in both], [p for _, p in both], self._marks())

    def _marks(self) -> list[int]:
        return list(range(1, self.scale + 1))

    def _people(self, example: Example) -> Hashable | None:
        return None if self.people is None else people_of(self.people, example, self._marks())

    def _question(self, example: Example, output: str, shown: bool) -> tuple[Message, ...]:
        instructions = f"You judge an assistant's answer by this rubric:\n{self.rubric}"
        parts = {"conversation": conversation(example), "answer": output}
        if shown and example.reference:
            parts["model answer"] = example.reference
        last = f'Give the answer a mark from 1 (worst) to {self.scale} (best) by the rubric. End with one line: {{"score": MARK}}'
        return question(instructions, parts, last)
