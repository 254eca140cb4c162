"""What one process of a parallel run does when a verb is asked of all: its share with its own engine, then the exchange.

One decision: the first process is a member like the others and runs this same code, so no process takes a step that
another does not.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.core.errors import LuthierError
from luthier.core.execution import Execution
from luthier.engine.contract import Batch, Completion, Engine, Loss, Progress, Sampling, StepOutput, TargetScores, TokenSequence
from luthier.engine.optim.config import OptimizerConfig
from luthier.engine.parallel import group
from luthier.engine.text.tokenizer import TextTokenizer

Outline = dict[str, tuple[torch.dtype, tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """What every process loads."""

    folder: Path
    method: Any
    execution: Execution
    seed: int
    dtype: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """value: what the verb gave; error: what it raised instead, if that is an error for the user; crash: any other, with its traceback."""

    value: Any = None
    error: LuthierError | None = None
    crash: str = ""


class Member:
    """One process's engine and its part of every verb. `rank` 0 is the first process."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._engine: Engine | None = None
        self._divided = False

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "a verb before `load`"
        return self._engine

    def ready(self) -> None:
        """Asked first: this process stands."""

    def join(self, size: int, meeting: Path) -> None:
        group.join(self.rank, size, meeting)

    def load(self, order: LoadOrder) -> None:
        from luthier.engine.parallel.sharded import load_sharded
        from luthier.engine.select import load_engine

        self._divided = order.execution.shard
        if self._divided:
            self._engine = load_sharded(order.folder, order.method, order.execution, order.seed, order.dtype)
            return
        self._engine = load_engine(order.folder, order.method, order.execution, order.seed, dtype=order.dtype)

    def use_optimiser(self, config: OptimizerConfig, ema: float | None = None) -> None:
        self.engine.use_optimiser(config, ema)

    def swap_average(self) -> None:
        self.engine.swap_average()

    def forward_backward(self, batch: Batch, loss: Loss) -> tuple[StepOutput, int]:
        """Of this process's share; with the most layers it has computed again so far."""
        if not batch.sequences and not self._divided:
            return StepOutput(0.0, 0, 0, 0), self.engine.recomputed_layers
        return self.engine.forward_backward(batch, loss), self.engine.recomputed_layers

    def gradients(self) -> dict[str, torch.Tensor]:
        """The accumulated gradient of all processes together; empty but in the first: no tensor goes through a socket."""
        total = self._summed()
        return {} if self.rank else total

    def _summed(self) -> dict[str, torch.Tensor]:
        return group.summed(self.engine.gradients())

    def replace_gradients(self, gradients: dict[str, Any] | None) -> None:
        self.engine.replace_gradients(gradients)

    def optim_step(self, learning_rate: float) -> float:
        """The same step from the same sum in every process; its norm tells whether it was."""
        self.engine.replace_gradients(self._summed())
        return self.engine.optim_step(learning_rate)

    def logprobs(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[np.ndarray]:
        return self.engine.logprobs(sequences, progress) if sequences else []

    def score(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[TargetScores]:
        return self.engine.score(sequences, progress) if sequences else []

    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        return self.engine.embed(sequences)

    def sample(
        self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None, tokenizer: TextTokenizer | None = None
    ) -> list[Completion]:
        return self.engine.sample(prompts, sampling, progress, tokenizer)

    def fingerprint(self) -> str:
        return group.fingerprint(self.engine.state())

    def load_state(self, outline: Outline, values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor] | None) -> None:
        """tensors: given to the first process alone."""
        self.engine.load_state({**group.copied(outline, tensors), **values})


def carry_out(member: Member, verb: str, args: tuple[Any, ...]) -> Answer:
    """The answer of `member` to one verb; errors for the user are part of it."""
    try:
        return Answer(getattr(member, verb)(*args))
    except LuthierError as err:
        return Answer(error=err)


def crashed(err: BaseException) -> Answer:
    """The answer of a process that has to end."""
    return Answer(crash="".join(traceback.format_exception(err)))
