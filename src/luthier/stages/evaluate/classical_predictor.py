"""Answers of a classical baseline, from its artifact's files.

One decision: what is loaded is numbers and text (safetensors and JSON), and scikit-learn's objects are made anew from them,
so no pickle is ever read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.core.artifacts import ClassicalModel
from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.execution import Execution
from luthier.core.records import Example, Message
from luthier.core.stage import Built
from luthier.engine.predictor import Output, Tools
from luthier.stages.evaluate.classical import ANSWERS, TERMS, WEIGHTS, Tell, embed, load_embedder, nearest, text_of, vectorizer, vote


@dataclass(frozen=True, eq=False)
class ClassicalPredictor:
    """Answers prompts. features: texts -> what the model reads; answer: one row of it -> the answer."""

    features: Callable[[Sequence[str], Tell | None], Any]
    answer: Callable[[Any], list[Output]]

    def predict(
        self, prompts: Sequence[tuple[Message, ...]], progress: Tell | None = None, tools: Sequence[Tools] | None = None
    ) -> list[Output]:
        """One answer for each prompt's text. Raises UserError for a row with tools."""
        if any(tools or ()):
            raise UserError("a classical baseline reads text", "tools")
        return self.answer(self.features([text_of(p) for p in prompts], progress))

    def mean_nll(self, examples: Sequence[Example], progress: Tell | None = None) -> float:
        """A classical baseline is not trained by a loss of tokens."""
        raise UserError("a language model is wanted", "a classical baseline")


def load_classical(model: Built[ClassicalModel], execution: Execution) -> ClassicalPredictor:
    """The predictor of a finished artifact. Raises CorruptArtifact when a file cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder, kind = model.path, model.result.kind
    try:
        answers: list[str] = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))
        tensors = {} if kind == "constant" else load_file(folder / WEIGHTS)
        terms = json.loads((folder / TERMS).read_text(encoding="utf-8")) if kind == "tfidf" else None
    except (SafetensorError, OSError, ValueError) as err:
        raise CorruptArtifact(f"{folder} cannot be read ({err}); rebuild it with the same command") from None
    if kind == "constant":
        return ClassicalPredictor(lambda texts, _: texts, lambda texts: [Output(answers[0], "constant") for _ in texts])
    if terms is not None:
        vectors = vectorizer(terms, tensors["idf"])
        return ClassicalPredictor(lambda texts, _: vectors.transform(texts), _linear(tensors, answers))
    read = _embedding(model.result, execution)
    if kind == "linear_head":
        return ClassicalPredictor(read, _linear(tensors, answers))
    known, k = tensors["embeddings"].astype(np.float64), int(model.result.settings["k"])
    return ClassicalPredictor(read, lambda rows: [Output(vote(answers, near), "nearest") for near in nearest(rows, known, k)])


def _linear(tensors: dict[str, np.ndarray], labels: list[str]) -> Callable[[Any], list[Output]]:
    weight, bias = tensors["weight"], tensors["bias"]

    def answer(features: Any) -> list[Output]:
        values = np.asarray(features @ weight.T + bias)
        top = values - values.max(axis=1, keepdims=True)
        logprobs = top - np.log(np.exp(top).sum(axis=1, keepdims=True))
        return [Output(labels[int(row.argmax())], "label", tuple(float(x) for x in row)) for row in logprobs]

    return answer


def _embedding(model: ClassicalModel, execution: Execution) -> Callable[[Sequence[str], Tell | None], np.ndarray]:
    engine, renderer = load_embedder(Path(model.base_folder or ""), int(model.settings["context_length"]), execution)
    return lambda texts, tell: embed(engine, renderer, texts, tell)
