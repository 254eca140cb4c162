"""What the engine is: six verbs over token sequences, with two implementations (`reference`, `fast`).

One decision: callers hand over whole lists of sequences and say which tokens are targets; sharing of
prefixes, packing, micro-batches and caches are the engine's business and never change a result beyond
floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from luthier.core.errors import LuthierError
from luthier.engine.optim.config import AdamW

Progress = Callable[[int, int], None]
"""Called with (done, total) sequences while a long verb works."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenSequence:
    """One sequence of N tokens. `weights[i] != 0` makes `tokens[i]` a target, predicted from `tokens[:i]`.

    tokens: int32 [N]; weights: float32 [N], `weights[0]` must be 0 (nothing predicts the first token).
    """

    tokens: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, slots=True)
class Batch:
    """The sequences of one optimiser step, or a part of one.

    `normaliser` divides the summed loss: the total target weight of the *whole* optimiser step, so that
    any split into micro-batches, packs or ranks gives the same gradient.
    """

    sequences: tuple[TokenSequence, ...]
    normaliser: float


@dataclass(frozen=True, slots=True)
class StepOutput:
    """loss: sum over targets / normaliser. unique_tokens: computed; as_if_separate: without sharing."""

    loss: float
    num_targets: int
    unique_tokens: int
    as_if_separate_tokens: int


class NonFiniteLoss(LuthierError):
    """A loss or a gradient is NaN or infinite; no weight was changed and the accumulated gradient was dropped.

    `sequences`: positions in the batch whose targets gave the bad value (empty when only the gradient norm is bad).
    """

    def __init__(self, what: str, sequences: tuple[int, ...] = ()) -> None:
        self.sequences = sequences
        shown = ", ".join(str(i) for i in sequences[:8]) + (" ..." if len(sequences) > 8 else "")
        where = f" in sequences {shown} of the batch" if sequences else ""
        super().__init__(f"{what} is not finite{where}; no weight was changed: lower the learning rate, or look at those rows")


class Loss(Protocol):
    """A loss over per-target log-probabilities.

    `linear` losses are `-sum(coefficient * logprob)`: their gradient is formed in the forward chunk.
    """

    @property
    def needs(self) -> frozenset[str]:
        """What it wants per target: `logprobs`."""
        ...

    @property
    def linear(self) -> bool: ...

    def coefficients(self, weights_N: Any) -> Any:
        """For a linear loss: d(loss)/d(-logprob) per target, before the normaliser. [num_targets]."""
        ...

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any) -> Any:
        """Scalar loss (a torch scalar) from per-target log-probs, weights and sequence numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate. temperature 0 is greedy. Generation ends at one of `stop_ids` or at the limit."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """Generated tokens without the stop token. `finish` is `stop` or `length`."""

    tokens: tuple[int, ...]
    finish: str


class Engine(Protocol):
    """The verbs. Raises `NonFiniteLoss` when a loss is NaN or infinite (nothing is applied)."""

    name: str
    num_trainable: int
    refusal: str | None
    """Why the fast engine was not taken, when `auto` chose the reference; otherwise None."""

    def use_optimiser(self, config: AdamW) -> None:
        """Choose the optimiser before the first step (`AdamW()` when never called); its moments start at zero."""
        ...

    def forward_backward(self, batch: Batch, loss: Loss) -> StepOutput:
        """Add the gradient of `batch` to what has been accumulated since the last `optim_step`."""
        ...

    def optim_step(self, learning_rate: float) -> float:
        """Clip, apply and clear the accumulated gradient; returns its norm before clipping."""
        ...

    def logprobs(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[np.ndarray]:
        """Log-probabilities of each sequence's targets, float64 [num_targets_i], under the current weights."""
        ...

    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        """Hidden state after the final norm at the last token of each sequence, float32 [len, hidden]."""
        ...

    def sample(self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None) -> list[Completion]:
        """Continue each prompt (int32 [N])."""
        ...

    def state(self) -> dict[str, Any]:
        """Trainable weights and optimiser state as named tensors and plain values: all that a resume needs."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` gave, bit for bit."""
        ...

    def gradients(self) -> dict[str, Any]:
        """The accumulated gradient by parameter name (PEFT's names), for the parity gates."""
        ...

    def save_adapter(self, folder: Path, base: str | None = None) -> None:
        """Write a PEFT adapter folder (adapter_config.json, adapter_model.safetensors). base: the name it gives its base model."""
        ...
