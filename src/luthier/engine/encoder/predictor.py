"""The predictor of encoders: a head's outputs as labels with probabilities, several labels, or a number.

One decision: the tuned head and the linear opponents differ only in where their values come from; what becomes an answer
is the same code, so a comparison of the two compares the values alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.core.records import Example, Message
from luthier.engine.contract import Progress, TokenSequence
from luthier.engine.encoder.engine import EncoderEngine
from luthier.engine.predictor import Output, Tools
from luthier.engine.text.answers import Answers
from luthier.engine.text.plain import TextRenderer


@dataclass(frozen=True)
class EncoderPredictor:
    """Answers with the engine's own head."""

    engine: EncoderEngine
    renderer: TextRenderer

    def predict(
        self, prompts: Sequence[tuple[Message, ...]], progress: Progress | None = None, tools: Sequence[Tools] | None = None
    ) -> list[Output]:
        """One answer for each text or pair of texts. Raises UserError for a row with tools."""
        given = [()] * len(prompts) if tools is None else tools
        values = self.engine.values([self.renderer.prompt(m, own) for m, own in zip(prompts, given, strict=True)], progress)
        return outputs_of(_answers(self.renderer), values)

    def mean_nll(self, examples: Sequence[Example], progress: Progress | None = None) -> float:
        """The loss on `examples`: mean cross-entropy, binary cross-entropy or squared error."""
        rendered = [self.renderer.render(e.messages, e.tools) for e in examples]
        logprobs = self.engine.logprobs([TokenSequence(r.tokens, r.weights) for r in rendered], progress)
        return float(-np.concatenate(logprobs).mean())


@dataclass(frozen=True, eq=False)
class LinearPredictor:
    """Answers with a linear map on frozen embeddings. weight: float64 [num_values, hidden]; bias: float64 [num_values]."""

    engine: EncoderEngine
    renderer: TextRenderer
    weight: np.ndarray
    bias: np.ndarray

    def predict(
        self, prompts: Sequence[tuple[Message, ...]], progress: Progress | None = None, tools: Sequence[Tools] | None = None
    ) -> list[Output]:
        """One answer for each text or pair of texts; `tools` were refused when the rows were embedded for training."""
        features = embeddings(self.engine, self.renderer, prompts, progress)
        return outputs_of(_answers(self.renderer), features @ self.weight.T + self.bias)


def embeddings(
    engine: EncoderEngine, renderer: TextRenderer, prompts: Sequence[tuple[Message, ...]], progress: Progress | None = None
) -> np.ndarray:
    """Mean-pooled embeddings of unit length, float64 [n, hidden]."""
    rows, step = [renderer.prompt(messages) for messages in prompts], 256
    found = []
    for at in range(0, len(rows), step):
        found.append(engine.embed([TokenSequence(r, np.zeros(len(r), np.float32)) for r in rows[at : at + step]]))
        if progress:
            progress(min(at + step, len(rows)), len(rows))
    features = np.concatenate(found).astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def outputs_of(answers: Answers, values: np.ndarray) -> list[Output]:
    """Answers from the values of a head, [n, num_values]."""
    out = []
    for row in values:
        several = tuple(float(p) for p in answers.probabilities(row)) if answers.kind == "labels" else ()
        out.append(Output(answers.text(row), answers.kind, tuple(float(x) for x in answers.logprobs(row)), several))
    return out


def _answers(renderer: TextRenderer) -> Answers:
    assert renderer.answers is not None
    return renderer.answers
