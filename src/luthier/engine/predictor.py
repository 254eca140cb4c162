"""The predictor: asks a model for answers. One object for metrics during training, baselines and evaluation.

One decision: classification answers are chosen by the exact log-probability of every label's tokens, the
end of turn included, so an answer outside the label set cannot happen and no text parsing is involved.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from luthier.core.errors import UserError
from luthier.core.records import Example, Message
from luthier.engine.contract import Engine, Progress, Sampling, TokenSequence
from luthier.engine.decoding import Decoding
from luthier.engine.text.load import AnyRenderer
from luthier.engine.text.renderer import Renderer, is_raw

Tools = tuple[dict[str, Any], ...]
"""The tools that a row declares, as its template sees them."""


@dataclass(frozen=True, slots=True)
class Output:
    """One answer. `label_logprobs`: log-probability of each choice given the prompt (one label of several).

    label_probabilities: of each label alone, where an answer is any number of labels.
    """

    text: str
    finish: str
    label_logprobs: tuple[float, ...] = ()
    label_probabilities: tuple[float, ...] = ()

    @property
    def margin(self) -> float | None:
        """Best minus second-best label log-probability, or None."""
        if len(self.label_logprobs) < 2:
            return None
        top = sorted(self.label_logprobs)[-2:]
        return top[1] - top[0]


class Answerer(Protocol):
    """Gives one answer for each prompt, and the loss on rows with answers."""

    def predict(
        self, prompts: Sequence[tuple[Message, ...]], progress: Progress | None = None, tools: Sequence[Tools] | None = None
    ) -> list[Output]:
        """One output for each prompt (the messages before the wanted answer). tools: those of each prompt's row."""
        ...

    def mean_nll(self, examples: Sequence[Example], progress: Progress | None = None) -> float:
        """The mean loss of the trained tokens of `examples`."""
        ...


def target_sequence(prompt: np.ndarray, completion: np.ndarray) -> TokenSequence:
    """Prompt followed by completion, with every completion token a target. Both int32 [N]."""
    weights = np.concatenate([np.zeros(len(prompt), np.float32), np.ones(len(completion), np.float32)])
    return TokenSequence(np.concatenate([prompt, completion]), weights)


def windows(whole: TokenSequence, limit: int) -> list[TokenSequence]:
    """Pieces of at most `limit` tokens that overlap by one, so that every target is in one of them, with a token before it."""
    found = []
    for start in range(0, len(whole.tokens) - 1, limit - 1):
        tokens, weights = whole.tokens[start : start + limit], whole.weights[start : start + limit].copy()
        weights[0] = 0
        if weights.any():
            found.append(TokenSequence(tokens, weights))
    return found


@dataclass(frozen=True)
class Predictor:
    """Answers prompts with one engine and one renderer. `choices` are the label texts for labels decoding."""

    engine: Engine
    renderer: AnyRenderer
    decoding: Decoding
    choices: tuple[str, ...] = ()

    def predict(
        self, prompts: Sequence[tuple[Message, ...]], progress: Progress | None = None, tools: Sequence[Tools] | None = None
    ) -> list[Output]:
        """One output for each prompt (the messages before the wanted answer). tools: those of each prompt's row.

        Raw text has no prompt: it is not asked for, and its output is empty.
        """
        if not any(prompts):
            return [Output("", "not asked") for _ in prompts]
        given = [()] * len(prompts) if tools is None else tools
        tokens = [self.renderer.prompt(messages, own) for messages, own in zip(prompts, given, strict=True)]
        if self.decoding.kind == "labels":
            return self._choose(tokens, progress)
        completions = self.engine.sample(tokens, self._sampling(), progress, self.renderer.tokenizer)
        return [Output(self.renderer.answer(c.tokens) if c.text is None else self.renderer.bare(c.text), c.finish) for c in completions]

    def _sampling(self) -> Sampling:
        d = self.decoding
        return Sampling(
            d.max_new_tokens,
            temperature=d.temperature,
            top_k=d.top_k,
            top_p=d.top_p,
            min_p=d.min_p,
            repetition_penalty=d.repetition_penalty,
            seed=d.seed,
            stop_ids=tuple(self.renderer.stop_ids),
            stop=d.stop,
            json_schema=None if d.json_schema is None else json.dumps(d.json_schema),
        )

    def _choose(self, prompts: list[np.ndarray], progress: Progress | None) -> list[Output]:
        if len(self.choices) < 2:
            raise UserError("labels decoding needs at least two labels", len(self.choices), "evaluate.decoding", "use `kind: text`")
        answers = [self.renderer.completion(text) for text in self.choices]
        sequences = [target_sequence(prompt, answer) for prompt in prompts for answer in answers]
        flat = self.engine.logprobs(sequences, progress)
        scores = np.array([float(row.sum()) for row in flat]).reshape(len(prompts), len(answers))
        return [Output(self.choices[int(row.argmax())], "label", tuple(float(x) for x in row)) for row in scores]

    def answer_logprobs(
        self, prompts: Sequence[tuple[Message, ...]], answers: Sequence[str], tools: Sequence[Tools], progress: Progress | None = None
    ) -> list[tuple[float, int]]:
        """The log-probability of each given answer after its prompt, end of turn included, and its number of tokens.

        Of raw text (no prompt) it is that of the text's own tokens, without the first where nothing stands before it.
        """
        asked = [
            [target_sequence(self.renderer.prompt(messages, own), self.renderer.completion(text))] if messages else self._of_text(text)
            for messages, text, own in zip(prompts, answers, tools, strict=True)
        ]
        found = iter(self.engine.logprobs([piece for pieces in asked for piece in pieces], progress))
        rows = [np.concatenate([next(found) for _ in pieces]) for pieces in asked]
        return [(float(row.sum()), len(row)) for row in rows]

    def _of_text(self, text: str) -> list[TokenSequence]:
        """Raw text with every token a target that has one before it."""
        if not isinstance(self.renderer, Renderer):
            raise UserError("raw text is read by a decoder", "another kind of model", "base")
        tokens = self.renderer.text(text)
        if len(tokens) < 2:
            raise UserError("a text must have at least two tokens, or nothing in it is predicted", repr(text[:60]), "data")
        return self._fitting(target_sequence(tokens[:1], tokens[1:]))

    def _fitting(self, whole: TokenSequence) -> list[TokenSequence]:
        """Raw text in windows of the model's context."""
        longest = self.engine.longest
        return [whole] if longest is None or len(whole.tokens) <= longest else windows(whole, longest)

    def mean_nll(self, examples: Sequence[Example], progress: Progress | None = None) -> float:
        """Mean negative log-likelihood of the trained tokens of `examples` (the validation loss)."""
        sequences = []
        for e in examples:
            rendered = self.renderer.render(e.messages, e.tools)
            whole = TokenSequence(rendered.tokens, rendered.weights)
            sequences += self._fitting(whole) if is_raw(e.messages) else [whole]
        logprobs = np.concatenate(self.engine.logprobs(sequences, progress))
        weights = np.concatenate([s.weights[s.weights != 0] for s in sequences])
        return float(-(logprobs * weights).sum() / weights.sum())
