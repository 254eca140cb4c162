"""The slow twin: plain transformers + PEFT, one sequence at a time. The oracle of every parity test.

One decision: it stays naive. Attention is eager, nothing is shared or packed, torch autograd does all gradients.
In float64 two parts of transformers that round to float32 (its RMS norms and its eager softmax) are replaced
by torch's own modules, else no float64 comparison would mean anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import Batch, Completion, Loss, NonFiniteLoss, Progress, Sampling, StepOutput, TokenSequence
from luthier.engine.objective import check_finite, check_needs
from luthier.engine.optim.config import AdamW
from luthier.engine.sampler.choose import choose
from luthier.engine.trees.planner import check_sequences


class ReferenceEngine:
    """See `engine.contract.Engine`. Built by `engine.select.load_engine`."""

    name = "reference"

    def __init__(self, model: Any, adapters: AdapterSet) -> None:
        self._model, self._adapters = model, adapters
        self.num_trainable = adapters.num_trainable
        self.refusal: str | None = None

    # training -----------------------------------------------------------------------------------------------

    def use_optimiser(self, config: AdamW) -> None:
        self._adapters.use_optimiser(config)

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
        logprobs = torch.cat([self._logprobs(batch.sequences[i]) for i in numbers]).double()
        weights = torch.cat([torch.from_numpy(_target_weights(batch.sequences[i])) for i in numbers])
        sequence = np.repeat(numbers, counts)
        value = loss(logprobs, weights, torch.from_numpy(sequence)) / batch.normaliser
        check_finite(value.detach(), logprobs.detach(), sequence)
        value.backward()
        return float(value.detach())

    def optim_step(self, learning_rate: float) -> float:
        return self._adapters.step(learning_rate)

    def gradients(self) -> dict[str, Any]:
        return self._adapters.gradients()

    # reading ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def logprobs(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[np.ndarray]:
        self._check(sequences)
        out = []
        for s in sequences:
            out.append(self._logprobs(s).double().numpy() if np.any(s.weights) else np.zeros(0))
            if progress:
                progress(len(out), len(sequences))
        return out

    @torch.no_grad()
    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        self._check(sequences)
        return np.stack([self._hidden(s.tokens)[-1].float().numpy() for s in sequences])

    @torch.no_grad()
    def sample(self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None) -> list[Completion]:
        out: list[Completion] = []
        for i, prompt in enumerate(prompts):
            out.append(self._continue(prompt, sampling, np.random.Generator(np.random.PCG64([sampling.seed, i]))))
            if progress:
                progress(len(out), len(prompts))
        return out

    def _continue(self, prompt: np.ndarray, sampling: Sampling, generator: np.random.Generator) -> Completion:
        tokens = list(prompt)
        limit = min(sampling.max_new_tokens, self._model.config.max_position_embeddings - len(prompt))
        while len(tokens) - len(prompt) < limit:
            logits = self._model.get_output_embeddings()(self._hidden(np.array(tokens))[-1:])
            token = int(choose(logits, sampling, [generator])[0])
            if token in sampling.stop_ids:
                return Completion(tuple(int(t) for t in tokens[len(prompt) :]), "stop")
            tokens.append(token)
        return Completion(tuple(int(t) for t in tokens[len(prompt) :]), "length")

    def _logprobs(self, s: TokenSequence) -> torch.Tensor:
        """Log-probabilities of the targets of one sequence, [num_targets], with a graph."""
        where = np.flatnonzero(s.weights)
        logits = self._model.get_output_embeddings()(self._hidden(s.tokens)[where - 1])
        return torch.log_softmax(logits, -1)[torch.arange(len(where)), torch.from_numpy(s.tokens[where].astype(np.int64))]

    def _hidden(self, tokens: np.ndarray) -> torch.Tensor:
        """Rows after the final norm, [N, hidden]."""
        ids = torch.from_numpy(tokens.astype(np.int64))[None]
        decoder = self._model.get_decoder()
        with _exact_attention(self._model.dtype == torch.float64):
            return decoder(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state[0]

    def _check(self, sequences: Any) -> None:
        check_sequences(sequences, self._model.config.vocab_size, self._model.config.max_position_embeddings)

    # state --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return self._adapters.state()

    def load_state(self, state: dict[str, Any]) -> None:
        self._adapters.load_state(state)

    def save_adapter(self, folder: Path, base: str | None = None) -> None:
        self._adapters.save(folder, base)


def _target_weights(s: TokenSequence) -> np.ndarray:
    return s.weights[np.flatnonzero(s.weights)].astype(np.float64)


@contextmanager
def _exact_attention(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield
