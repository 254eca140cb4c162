"""The slow twin: plain transformers + PEFT, one sequence at a time. The oracle of every parity test.

One decision: it stays naive. Attention is eager, nothing is shared or packed, torch autograd does all gradients.
In float64 two parts of transformers that round to float32 (its RMS norms and its eager softmax) are replaced
by torch's own modules, else no float64 comparison would mean anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from luthier.engine.adapted import Adapted
from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import Batch, Completion, Loss, NonFiniteLoss, Progress, Sampling, StepOutput, TargetScores, TokenSequence
from luthier.engine.logprobs import log_probabilities
from luthier.engine.methods.contract import Root
from luthier.engine.noise import TokenNoise, token_noise
from luthier.engine.objective import check_finite, check_needs, finite, of_means
from luthier.engine.reference.noise import ModelNoise
from luthier.engine.sampler.job import Job, Window, checked, make_jobs, mask_logits, note_logprobs
from luthier.engine.sampler.plain import choose_plain, penalised
from luthier.engine.sampler.stops import WholeStops
from luthier.engine.text.tokenizer import TextTokenizer
from luthier.engine.trees.planner import check_sequences


class ReferenceEngine(Adapted):
    """See `engine.contract.Engine`. Built by `engine.select.load_engine`."""

    name = "reference"

    def __init__(self, model: Any, adapters: AdapterSet, root: Root | None = None) -> None:
        super().__init__(adapters)
        self._model, self._root = model, root
        self.longest: int = longest_of(model.config) - (root.num_tokens if root else 0)
        self._noise: ModelNoise | None = None

    # training -----------------------------------------------------------------------------------------------

    def forward_backward(self, batch: Batch, loss: Loss) -> StepOutput:
        check_needs(loss)
        self._check(batch.sequences)
        self._adapters.ensure_gradients()
        try:
            if loss.linear:
                total = sum(self._backward(batch, (i,), loss) for i in range(len(batch.sequences)))
            else:
                total = self._backward(batch, tuple(range(len(batch.sequences))), loss)
        except NonFiniteLoss:
            self._adapters.clear_gradients()
            raise
        tokens = sum(len(s.tokens) for s in batch.sequences)
        return StepOutput(total, sum(int(np.count_nonzero(s.weights)) for s in batch.sequences), tokens, tokens)

    def _backward(self, batch: Batch, numbers: tuple[int, ...], loss: Loss) -> float:
        """Loss and gradient of some sequences: each alone for a linear loss (it is a sum), all in one graph otherwise."""
        counts = [int(np.count_nonzero(batch.sequences[i].weights)) for i in numbers]
        if not any(counts):
            return 0.0
        noises = self._noises(batch, numbers)
        scored = [self._logprobs(batch.sequences[i], noise) for i, noise in zip(numbers, noises, strict=True)]
        logprobs, means = (torch.cat(parts).double() for parts in zip(*scored, strict=True))
        weights = torch.cat([torch.from_numpy(_target_weights(batch.sequences[i])) for i in numbers])
        sequence = np.repeat(numbers, counts)
        smooth, number = of_means(loss), torch.from_numpy(sequence)
        value = (loss(logprobs, weights, number) if smooth is None else smooth(logprobs, weights, number, means)) / batch.normaliser
        self._check_finite(value.detach(), logprobs.detach(), sequence)
        value.backward()
        return float(value.detach())

    def _check_finite(self, value: torch.Tensor, logprobs: torch.Tensor, sequence: np.ndarray) -> None:
        check_finite(value, logprobs, sequence)

    def _noises(self, batch: Batch, numbers: tuple[int, ...]) -> list[TokenNoise | None]:
        """The noise of each sequence; hooks are put on the model the first time."""
        if batch.noise is None:
            return [None] * len(numbers)
        if self._noise is None:
            self._noise = ModelNoise(self._model, batch.noise.rates)
        part = batch.part(numbers)
        assert part.noise is not None
        return list(token_noise(part.noise, [s.tokens for s in part.sequences], self._model.get_input_embeddings().embedding_dim))

    # reading ------------------------------------------------------------------------------------------------

    def logprobs(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[np.ndarray]:
        return [s.logprobs for s in self.score(sequences, progress)]

    @torch.no_grad()
    def score(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[TargetScores]:
        self._check(sequences)
        out = []
        for s in sequences:
            out.append(self._scored(s))
            if progress:
                progress(len(out), len(sequences))
        return finite(out)

    def _scored(self, s: TokenSequence) -> TargetScores:
        if not np.any(s.weights):
            return TargetScores(np.zeros(0), np.zeros(0, dtype=bool))
        logits, token = self._target_logits(s)
        logprobs = log_probabilities(logits)[torch.arange(len(token)), token]
        return TargetScores(logprobs.double().numpy(), (logits.argmax(-1) == token).numpy())

    @torch.no_grad()
    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        self._check(sequences)
        return np.stack([self._hidden(s.tokens)[-1].float().numpy() for s in sequences])

    @torch.no_grad()
    def sample(
        self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None, tokenizer: TextTokenizer | None = None
    ) -> list[Completion]:
        window = Window(self._model.config.vocab_size, self.longest)
        out: list[Completion] = []
        for job in make_jobs(prompts, sampling, window, tokenizer, WholeStops):
            while job.take(self._next_token(job, sampling)):
                pass
            out.append(job.completion())
            if progress and len(out) % sampling.num_samples == 0:
                progress(len(out) // sampling.num_samples, len(prompts))
        return out

    def _next_token(self, job: Job, sampling: Sampling) -> int:
        """From the whole sequence, computed anew."""
        raw = self._logits(job.sequence, torch.tensor([len(job.sequence) - 1]))
        logits = penalised(raw, [np.unique(job.sequence).astype(np.int64)], sampling.repetition_penalty)
        chosen = checked(logits, choose_plain(mask_logits(logits, [job]), sampling, [job.uniform()]))
        if sampling.logprobs is not None:
            note_logprobs(raw, chosen, [job], sampling.logprobs)
        return int(chosen[0])

    def _logprobs(self, s: TokenSequence, noise: TokenNoise | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of the targets of one sequence, and their means over the vocabulary, [num_targets], with a graph."""
        with nullcontext() if self._noise is None else self._noise.on(noise):
            logits, token = self._target_logits(s)
        logprobs = log_probabilities(logits)
        return logprobs[torch.arange(len(token)), token], logprobs.mean(-1)

    def _target_logits(self, s: TokenSequence) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [num_targets, vocabulary] that predict the targets, and the targets' tokens, int64."""
        where = np.flatnonzero(s.weights)
        logits = self._logits(s.tokens, torch.from_numpy(where - 1))
        return logits, torch.from_numpy(s.tokens[where].astype(np.int64))

    def _logits(self, tokens: np.ndarray, rows: torch.Tensor) -> torch.Tensor:
        """The model's own logits after the tokens at `rows`, [len(rows), vocabulary]."""
        inputs = self._inputs(tokens)
        before = inputs["inputs_embeds"].shape[1] - len(tokens) if "inputs_embeds" in inputs else 0
        with _exact_attention(self._model.dtype == torch.float64):
            return self._model(**inputs, use_cache=False, logits_to_keep=rows + before).logits[0]

    def _hidden(self, tokens: np.ndarray) -> torch.Tensor:
        """Rows after the final norm, [N, hidden]."""
        with _exact_attention(self._model.dtype == torch.float64):
            return self._model.get_decoder()(**self._inputs(tokens), use_cache=False).last_hidden_state[0, -len(tokens) :]

    def _inputs(self, tokens: np.ndarray) -> dict[str, Any]:
        """What transformers takes for one sequence."""
        ids = torch.from_numpy(tokens.astype(np.int64))[None]
        if self._root is None:
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return below(self._root, self._model, ids)

    def _check(self, sequences: Any) -> None:
        check_sequences(sequences, self._model.config.vocab_size, self.longest)


def longest_of(config: Any) -> int:
    """Tokens of a sequence that the model has positions for."""
    return getattr(config, "max_position_embeddings", None) or 2**31


def below(root: Root, model: Any, ids: torch.Tensor) -> dict[str, Any]:
    """The inputs of a decoder for one sequence (int64 [1, N]) with a learned root before it, as PEFT gives them."""
    inputs: dict[str, Any] = {"attention_mask": torch.ones(1, root.num_tokens + ids.shape[1], dtype=torch.int64)}
    embeddings = root.embeddings()
    if embeddings is not None:
        return inputs | {"inputs_embeds": torch.cat([embeddings[None], model.get_input_embeddings()(ids)], 1)}
    return inputs | {"input_ids": ids, "past_key_values": cache_of(root, model)}


def cache_of(root: Root, model: Any, num: int = 1) -> Any:
    """transformers' cache of a batch of `num` sequences that holds the root's learned keys and values."""
    from transformers import DynamicCache

    learned, cache = root.keys_values(), DynamicCache(config=model.config)
    assert learned is not None
    for layer, (keys, values) in enumerate(learned):
        cache.update(keys.expand(num, -1, -1, -1), values.expand(num, -1, -1, -1), layer)
    return cache


def _target_weights(s: TokenSequence) -> np.ndarray:
    return s.weights[np.flatnonzero(s.weights)].astype(np.float64)


@contextmanager
def _exact_attention(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield
