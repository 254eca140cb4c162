"""What the engine is: six verbs over token sequences, with three implementations (`fast`, `generic`, `reference`).

One decision: callers hand over whole lists of sequences and say which tokens are targets; sharing of
prefixes, packing, micro-batches and caches are the engine's business and never change a result beyond
floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from luthier.core.errors import LuthierError, UserError
from luthier.engine.optim.config import OptimizerConfig

if TYPE_CHECKING:
    from luthier.engine.memory.forecast import Forecast
from luthier.engine.text.tokenizer import TextTokenizer

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
class NoiseRates:
    """dropout: of what attention and MLP add to the residual stream. lora: of the input of each LoRA's A. embedding: NEFTune's alpha.

    shared_masks: rows that start alike have the same noise as far as they are alike, and are computed once.
    """

    dropout: float = 0.0
    lora: float = 0.0
    embedding: float = 0.0
    shared_masks: bool = False

    def __bool__(self) -> bool:
        return bool(self.dropout or self.lora or self.embedding)

    @property
    def shares_prefixes(self) -> bool:
        """Whether rows that start alike are computed as one as far as they are alike."""
        return not self or self.shared_masks


NO_NOISE = NoiseRates()


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where an engine may keep what frozen layers give. limit_bytes: of disk. weights: hash of the base's weights. noise: of the run."""

    folder: Path
    limit_bytes: int
    weights: str
    noise: NoiseRates = NO_NOISE


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of one optimiser step: a function of seed, epoch and, for each sequence, the number of its training row."""

    rates: NoiseRates
    seed: int
    epoch: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """The sequences of one optimiser step, or a part of one.

    `normaliser` divides the summed loss: the total target weight of the *whole* optimiser step, so that
    any split into micro-batches, packs or ranks gives the same gradient. `noise`: None for none.
    """

    sequences: tuple[TokenSequence, ...]
    normaliser: float
    noise: Noise | None = None

    def part(self, numbers: Sequence[int]) -> Batch:
        """The sequences at `numbers`, under the normaliser of the whole."""
        noise = None if self.noise is None else replace(self.noise, rows=tuple(self.noise.rows[i] for i in numbers))
        return replace(self, sequences=tuple(self.sequences[i] for i in numbers), noise=noise)


@dataclass(frozen=True, slots=True)
class StepOutput:
    """loss: sum over targets / normaliser. unique_tokens: computed; as_if_separate: without sharing."""

    loss: float
    num_targets: int
    unique_tokens: int
    as_if_separate_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class TargetScores:
    """Of one sequence: logprobs float64 [num_targets]; greedy bool [num_targets], the target is the most probable token."""

    logprobs: np.ndarray
    greedy: np.ndarray


class NonFiniteLoss(LuthierError):
    """A loss or a gradient is NaN or infinite; no weight was changed and the accumulated gradient was dropped.

    `sequences`: positions in the batch whose targets gave the bad value (empty when only the gradient norm is bad).
    """

    def __init__(self, what: str, sequences: tuple[int, ...] = ()) -> None:
        self.what, self.sequences = what, sequences
        shown = ", ".join(str(i) for i in sequences[:8]) + (" ..." if len(sequences) > 8 else "")
        where = f" in sequences {shown} of the batch" if sequences else ""
        super().__init__(f"{what} is not finite{where}; no weight was changed: lower the learning rate, or look at those rows")

    def __reduce__(self) -> tuple[type[NonFiniteLoss], tuple[str, tuple[int, ...]]]:
        """Another process says it in the same words."""
        return NonFiniteLoss, (self.what, self.sequences)


class NonFiniteOutput(UserError):
    """What a model gives is NaN or infinite, so no answer or score of it means anything. `sequences`: their positions in the list."""

    def __init__(self, what: str, sequences: tuple[int, ...] = ()) -> None:
        self.what, self.sequences = what, sequences
        shown = ", ".join(str(i) for i in sequences[:8]) + (" ..." if len(sequences) > 8 else "")
        where = f"sequences {shown} of the list" if sequences else ""
        fix = "its weights or its adapter hold NaN or infinity, or overflow: train it with a lower learning rate, or fetch the base again"
        super().__init__(f"a model's {what} must be finite", "NaN or infinity", where, fix)

    def __reduce__(self) -> tuple[type[NonFiniteOutput], tuple[str, tuple[int, ...]]]:
        """Another process says it in the same words."""
        return NonFiniteOutput, (self.what, self.sequences)


class Loss(Protocol):
    """A loss over per-target log-probabilities.

    `linear` losses are `-sum(coefficient * logprob)`, and `-sum(mean_coefficient * mean_logprob)` besides where they need
    `mean_logprobs`: their gradient is formed in the forward chunk. A loss that is not linear gets `logprobs` alone.
    """

    @property
    def needs(self) -> frozenset[str]:
        """What it wants per target: `logprobs`; `mean_logprobs`, the mean over the vocabulary."""
        ...

    @property
    def linear(self) -> bool: ...

    def coefficients(self, weights_N: Any) -> Any:
        """For a linear loss: d(loss)/d(-logprob) per target, before the normaliser. [num_targets]."""
        ...

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any) -> Any:
        """Scalar loss (a torch scalar) from per-target log-probs, weights and sequence numbers."""
        ...


class LossOfMeans(Loss, Protocol):
    """A linear loss that needs `mean_logprobs`: its value takes them as a fourth argument."""

    def mean_coefficients(self, weights_N: Any) -> Any:
        """d(loss)/d(-mean_logprob) per target, before the normaliser. [num_targets]."""
        ...

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any, means_N: Any = None) -> Any:
        """Scalar loss (a torch scalar); means_N: per target, the mean log-probability over the vocabulary."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate. temperature 0 is greedy. Generation ends at one of `stop_ids`, a stop string, or the limit.

    What changes the distribution is applied in the order of transformers' `generate`: repetition_penalty (of every token in
    the prompt and the completion so far; the only one that greedy decoding uses), temperature, top_k, top_p, min_p.
    stop: strings; the completion is cut before the first that its text contains. json_schema: a JSON Schema as JSON text;
    only tokens that can still lead to a document of it are drawn. logprobs: None for none, n for each token's log-probability
    under the model itself (before every change above) and those of the n most likely tokens.
    num_samples: completions of each prompt. Draws are keyed by (seed, prompt number, sample number).
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    num_samples: int = 1
    json_schema: str | None = None

    @property
    def needs_text(self) -> bool:
        """Whether a tokenizer is wanted besides."""
        return bool(self.stop) or self.json_schema is not None


@dataclass(frozen=True, slots=True)
class Completion:
    """Generated tokens without the stop token. `finish` is `stop` or `length` (the limit came first).

    stopped_by: the stop string or the stop token's id; None at the limit, or when a JSON document was complete.
    text: with stop strings or a schema, the text, cut before the stop string; `tokens` are then the fewest that cover it.
    logprobs: of each of `tokens`; stop_logprob: of the stop token; top_logprobs: the most likely (token, log-probability)
    at each of `tokens`, best first. Empty or None unless asked for.
    """

    tokens: tuple[int, ...]
    finish: str
    stopped_by: str | int | None = None
    text: str | None = None
    logprobs: tuple[float, ...] = ()
    stop_logprob: float | None = None
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()


class Engine(Protocol):
    """The verbs. Raises `NonFiniteLoss` when a loss is NaN or infinite (nothing is applied)."""

    name: str
    num_trainable: int
    refusal: str | None
    """Why no faster engine was taken, when `auto` chose this one; otherwise None."""
    micro_batch_tokens: int | None
    """Most unique tokens computed at once; None where sequences are computed one at a time."""
    recomputed_layers: int
    """Most layers that a backward pass has computed again so far, because what they keep did not fit the memory."""

    @property
    def longest(self) -> int | None:
        """Most tokens of a sequence; None where a text and its answer are bounded apart."""
        ...

    def use_optimiser(self, config: OptimizerConfig, ema: float | None = None) -> None:
        """Choose the optimiser before the first step (`AdamW()` when never called); its moments start at zero.

        ema: decay of an average of the trainable weights, kept beside them and updated at each step; None for none.
        """
        ...

    def swap_average(self) -> None:
        """Exchange the trainable weights with their average, for all verbs until the next call; nothing when none is kept."""
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

    def score(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[TargetScores]:
        """As `logprobs`, with whether greedy decoding would have given each target (of equal logits the lowest token id wins)."""
        ...

    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        """Hidden state after the final norm at the last token of each sequence, float32 [len, hidden]."""
        ...

    def sample(
        self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None, tokenizer: TextTokenizer | None = None
    ) -> list[Completion]:
        """Continue each prompt (int32 [N]); `num_samples` completions of a prompt follow each other.

        The weights are those of the model with its adapter merged in, as they are now. tokenizer: what stop strings and a
        schema are read with. Raises UserError for a prompt that leaves no room, or a setting that cannot be met.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Trainable weights and optimiser state as named tensors and plain values: all that a resume needs."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` gave, bit for bit."""
        ...

    def forecast(self, sequences: Sequence[TokenSequence], steps: Sequence[np.ndarray], noise: NoiseRates = NO_NOISE) -> Forecast | None:
        """What a run will take, None where there is no memory model. steps: each optimiser step's positions in `sequences`.

        noise: of its steps; where each sequence has noise of its own no prefix is computed once for several.

        Raises UserError for a step that fits the memory in no way.
        """
        ...

    def keep_activations(self, keeping: Keeping, sequences: Sequence[TokenSequence], steps: Sequence[np.ndarray]) -> str:
        """Keep what frozen layers give from one epoch to the next, where that pays; what was decided in words, empty without such layers.

        sequences and steps: as of `forecast`. It changes no result beyond rounding.
        """
        ...

    def gradients(self) -> dict[str, Any]:
        """A copy of the accumulated gradient by parameter name (PEFT's names)."""
        ...

    def replace_gradients(self, gradients: dict[str, Any] | None) -> None:
        """Put these in the place of the accumulated gradient (the names and shapes of `gradients`); None drops it."""
        ...

    def save_adapter(self, folder: Path, base: str | None = None) -> None:
        """Write a PEFT adapter folder (adapter_config.json, adapter_model.safetensors). base: the name it gives its base model."""
        ...
