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
        """One output for each prompt (the messages before the wanted answer). tools: those of each prompt's row."""
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
        """The log-probability of each given answer after its prompt, end of turn included, and its number of tokens."""
        pairs = [
            (self.renderer.prompt(messages, own), self.renderer.completion(text))
            for messages, text, own in zip(prompts, answers, tools, strict=True)
        ]
        found = self.engine.logprobs([target_sequence(prompt, answer) for prompt, answer in pairs], progress)
        return [(float(row.sum()), len(row)) for row in found]

    def mean_nll(self, examples: Sequence[Example], progress: Progress | None = None) -> float:
        """Mean negative log-likelihood of the trained tokens of `examples` (the validation loss)."""
        rendered = [self.renderer.render(e.messages, e.tools) for e in examples]
        sequences = [TokenSequence(r.tokens, r.weights) for r in rendered]
        logprobs = np.concatenate(self.engine.logprobs(sequences, progress))
        weights = np.concatenate([r.weights[r.weights != 0] for r in rendered])
        return float(-(logprobs * weights).sum() / weights.sum())
