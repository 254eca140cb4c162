"""BERTScore (Zhang et al. 2020) with the local encoder: each token is matched with the most similar one of the other text.

One decision: it is the plain F1 of the paper's equations 1 to 3, without idf weights and without rescaling, over the last layer of
`encoder`, so figures compare with each other and never with those of another encoder. As in the authors' package, the encoder's
first and last token may be matched and weigh nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from luthier.core.records import Example
from luthier.parts.scorers.scorer import WRITING, Answer, Score, Scorer, refuse_empty_references

if TYPE_CHECKING:
    import numpy as np

_AT_ONCE = 128


class BertScore(Scorer):
    """F1 of greedy matching by cosine, in [0, 1] (below 0 counts as 0); precision and recall stand in the row's details."""

    tasks: ClassVar[tuple[str, ...]] = WRITING

    kind: Literal["bertscore"] = "bertscore"
    encoder: str = Field(default="minilm-l6", description="the base model that reads both texts: an encoder")

    def __call__(self, example: Example, output: str) -> Score:
        return self.score_all([example], [Answer(output)])[0]

    def check(self, examples: Sequence[Example]) -> None:
        refuse_empty_references(self, examples)

    def score_all(self, examples: Sequence[Example], answers: Sequence[Answer]) -> list[Score]:
        """Many texts at once: each different text is read once in its group of rows."""
        from luthier.parts.scorers.text_encoder import text_encoder

        encoder, out = text_encoder(self.encoder), []
        for at in range(0, len(examples), _AT_ONCE):
            pairs = [(e.reference, a.text) for e, a in zip(examples[at : at + _AT_ONCE], answers[at : at + _AT_ONCE], strict=True)]
            texts = sorted({t for pair in pairs for t in pair})
            states = dict(zip(texts, encoder.states(texts), strict=True))
            out += [_score(states[reference], states[given]) for reference, given in pairs]
        return out


def _score(reference_NH: np.ndarray, given_NH: np.ndarray) -> Score:
    precision, recall, f1 = greedy_match(reference_NH, given_NH)
    return Score(round(min(1.0, max(0.0, f1)), 6), {"precision": precision, "recall": recall})


def greedy_match(reference_NH: np.ndarray, given_NH: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1 of two texts' token states of unit length; 0 where a text has no token of its own."""
    if len(reference_NH) <= 2 or len(given_NH) <= 2:
        return 0.0, 0.0, 0.0
    similar = given_NH @ reference_NH.T
    precision = float(similar.max(axis=1)[1:-1].mean())
    recall = float(similar.max(axis=0)[1:-1].mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0
