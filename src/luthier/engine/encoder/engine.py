"""The encoder engine: a transformers sequence-classification model whose head gives labels or numbers.

One decision: a row is its text's tokens with the answer's tokens behind them (`engine.text.answers`); the answer never
enters the model. The "log-probability" of an answer is that of a softmax (one label), of a logistic unit each (several),
or minus the squared error (a number), so that the ordinary loss is cross-entropy, binary cross-entropy or squared error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from luthier.core.errors import UserError
from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import Completion, Progress, Sampling, TokenSequence
from luthier.engine.padded import PaddedEngine, Targets, check_ids, mean_rows, padded
from luthier.engine.text.answers import Answers
from luthier.engine.text.tokenizer import TextTokenizer

NOT_A_WRITER = "an encoder reads texts and writes none"
TOO_LONG = "shorten it, or let the project cut long texts: `prepare: {too_long: cut_end}`"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model can take. separator: its token id where texts of a pair have type ids; None where a model has none."""

    vocabulary: int
    longest: int
    pad: int
    separator: int | None


class EncoderEngine(PaddedEngine):
    """See `engine.contract.Engine`. `answers` is None for an encoder without a head: it can only embed."""

    name = "encoder"

    def __init__(self, model: Any, adapters: AdapterSet, group_tokens: int, shape: Shape, answers: Answers | None) -> None:
        super().__init__(model, adapters, group_tokens)
        self._shape, self.answers = shape, answers
        self.name = "encoder" if group_tokens else "encoder, one row at a time"

    # reading ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def values(self, prompts: Sequence[np.ndarray], progress: Progress | None = None) -> np.ndarray:
        """The head's outputs for each text, float64 [n, num_values]. Equal texts are computed once."""
        rows = list({p.tobytes(): p for p in prompts}.values())
        check_ids(rows, self._shape.vocabulary, self._shape.longest, TOO_LONG)
        found: dict[bytes, np.ndarray] = {}
        for numbers in self._groups([len(r) for r in rows]):
            values = self._head([rows[i] for i in numbers]).double().numpy()
            found.update({rows[i].tobytes(): v for i, v in zip(numbers, values, strict=True)})
            if progress:
                progress(len(prompts) * len(found) // len(rows), len(prompts))
        return np.stack([found[p.tobytes()] for p in prompts])

    @torch.no_grad()
    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        """Mean of the last layer's rows over each text's tokens, float32 [n, hidden]."""
        rows = [s.tokens for s in sequences]
        check_ids(rows, self._shape.vocabulary, self._shape.longest, TOO_LONG)
        out: dict[int, np.ndarray] = {}
        for numbers in self._groups([len(r) for r in rows]):
            inputs = self._inputs([rows[i] for i in numbers])
            hidden = self._model.base_model(**inputs).last_hidden_state
            out.update(zip(numbers, mean_rows(hidden, inputs["attention_mask"]), strict=True))
        return np.stack([out[i] for i in range(len(rows))])

    @torch.no_grad()
    def token_states(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The last layer's row of every token of each text (int32 [N]), float32 [N, hidden] each."""
        check_ids(rows, self._shape.vocabulary, self._shape.longest, TOO_LONG)
        out: dict[int, np.ndarray] = {}
        for numbers in self._groups([len(r) for r in rows]):
            hidden = self._model.base_model(**self._inputs([rows[i] for i in numbers])).last_hidden_state
            out.update({i: state[: len(rows[i])].float().numpy() for i, state in zip(numbers, hidden, strict=True)})
        return [out[i] for i in range(len(rows))]

    def sample(
        self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None, tokenizer: TextTokenizer | None = None
    ) -> list[Completion]:
        raise UserError(NOT_A_WRITER, "a prompt to answer in words", fix="choose a decoder or an encoder-decoder, or ask for a label")

    # the model ----------------------------------------------------------------------------------------------

    def _targets(self, rows: list[TokenSequence]) -> list[Targets]:
        answers = self._with_head()
        values = self._head([_text(s) for s in rows])
        ids = np.stack([s.tokens[s.weights != 0] for s in rows])
        wanted = torch.from_numpy(answers.numbers(ids)).to(values.dtype)
        if answers.kind == "number":
            return [Targets(-((v - w) ** 2), v == w, None) for v, w in zip(values, wanted, strict=True)]
        if answers.kind == "labels":
            logprobs, greedy = logsigmoid(values * (2 * wanted - 1)), (values > 0) == (wanted > 0)
            means = (logsigmoid(values) + logsigmoid(-values)) / 2
        else:
            every = torch.log_softmax(values, -1)
            logprobs, means = (every * wanted).sum(-1, keepdim=True), every.mean(-1, keepdim=True)
            greedy = (values.argmax(-1) == wanted.argmax(-1))[:, None]
        return [Targets(*row) for row in zip(logprobs, greedy, means, strict=True)]

    def _head(self, rows: list[np.ndarray]) -> torch.Tensor:
        """The head's outputs, [n, num_values]."""
        self._with_head()
        return self._model(**self._inputs(rows)).logits

    def _inputs(self, rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
        ids, mask = padded(rows, self._shape.pad)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._shape.separator is not None:
            ends = (ids == self._shape.separator).long()
            inputs["token_type_ids"] = (ends.cumsum(-1) - ends).clamp(max=1) * mask
        return inputs

    def _check(self, rows: Sequence[TokenSequence]) -> None:
        answers = self._with_head()
        width = 1 if answers.kind != "labels" else answers.num_values
        check_ids([_text(s) for s in rows], self._shape.vocabulary, self._shape.longest, TOO_LONG)
        for i, s in enumerate(rows):
            answer = s.tokens[len(s.tokens) - width :]
            if np.count_nonzero(s.weights) != width or not s.weights[len(s.tokens) - width :].all():
                raise UserError(f"a row must end with the {width} tokens of its answer", np.count_nonzero(s.weights), f"row {i}")
            if answers.kind == "label" and not 0 <= int(answer[0]) < answers.num_values:
                raise UserError(f"a label must be one of the {answers.num_values} trained ones", int(answer[0]), f"row {i}")
            if answers.kind == "labels" and ((answer // 2) != np.arange(width)).any():
                raise UserError("an answer of several labels must have one token for each, in order", answer.tolist(), f"row {i}")

    def _with_head(self) -> Answers:
        if self.answers is None:
            raise UserError(NOT_A_WRITER, "a head is wanted", fix="train it first: an encoder has none of its own")
        return self.answers


def _text(s: TokenSequence) -> np.ndarray:
    """A row's tokens without its answer."""
    return s.tokens[s.weights == 0]
