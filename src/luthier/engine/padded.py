"""What the encoder and the encoder-decoder engine share: the verbs over a transformers model, rows padded in groups.

One decision: rows are sorted by length and grouped so that little is padded, and each group is one forward pass of
transformers' own model under an attention mask; autograd does all gradients. With `engine: reference` every row is alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.adapted import Adapted
from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import Batch, Loss, NonFiniteLoss, Progress, StepOutput, TargetScores, TokenSequence
from luthier.engine.objective import check_finite, check_needs, finite, of_means

AUTO_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Targets:
    """Of one row, [num_targets] each: logprobs with a graph; greedy, whether the target is what the model would answer;
    means, the mean log-probability over all that could be answered (None for a number)."""

    logprobs: torch.Tensor
    greedy: torch.Tensor
    means: torch.Tensor | None


class PaddedEngine(Adapted, ABC):
    """The verbs of `engine.contract.Engine` that both engines have alike."""

    name = ""

    def __init__(self, model: Any, adapters: AdapterSet, group_tokens: int) -> None:
        """group_tokens: most padded tokens of a group; 0 for one row at a time."""
        super().__init__(adapters, group_tokens or None)
        self._model, self._group_tokens = model, group_tokens

    @abstractmethod
    def _targets(self, rows: list[TokenSequence]) -> list[Targets]:
        """Log-probabilities of the rows' targets, computed together."""

    @abstractmethod
    def _check(self, rows: Sequence[TokenSequence]) -> None:
        """Raise UserError for a row that the model cannot take."""

    # training -----------------------------------------------------------------------------------------------

    def forward_backward(self, batch: Batch, loss: Loss) -> StepOutput:
        check_needs(loss)
        if batch.noise is not None:
            raise EngineRefused("dropout and embedding noise are for decoders", batch.noise.rates, "train.regularisation", "leave them out")
        self._check(batch.sequences)
        self._adapters.ensure_gradients()
        lengths = [len(s.tokens) for s in batch.sequences]
        groups = self._groups(lengths) if loss.linear else [list(range(len(lengths)))]
        try:
            total = sum(self._backward(batch, numbers, loss) for numbers in groups)
        except NonFiniteLoss:
            self._adapters.clear_gradients()
            raise
        tokens = sum(lengths)
        return StepOutput(total, sum(int(np.count_nonzero(s.weights)) for s in batch.sequences), tokens, tokens)

    def _backward(self, batch: Batch, numbers: list[int], loss: Loss) -> float:
        """Loss and gradient of some rows: those of a group for a linear loss (it is a sum), all of them otherwise."""
        rows = [batch.sequences[i] for i in numbers]
        targets = self._targets(rows)
        logprobs = torch.cat([t.logprobs for t in targets]).double()
        weights = torch.cat([torch.from_numpy(s.weights[s.weights != 0].astype(np.float64)) for s in rows])
        sequence = np.repeat(numbers, [int(np.count_nonzero(s.weights)) for s in rows])
        smooth, where = of_means(loss), torch.from_numpy(sequence)
        value = (loss(logprobs, weights, where) if smooth is None else smooth(logprobs, weights, where, _means(targets))) / batch.normaliser
        check_finite(value.detach(), logprobs.detach(), sequence)
        value.backward()
        return float(value.detach())

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Positions by length, the longest first, in groups of at most `group_tokens` padded tokens (one row at least)."""
        groups: list[list[int]] = []
        for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
            if not groups or (len(groups[-1]) + 1) * lengths[groups[-1][0]] > self._group_tokens:
                groups.append([])
            groups[-1].append(i)
        return groups

    # reading ------------------------------------------------------------------------------------------------

    def logprobs(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[np.ndarray]:
        return [s.logprobs for s in self.score(sequences, progress)]

    @torch.no_grad()
    def score(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[TargetScores]:
        self._check(sequences)
        out: dict[int, TargetScores] = {}
        for numbers in self._groups([len(s.tokens) for s in sequences]):
            for i, found in zip(numbers, self._targets([sequences[i] for i in numbers]), strict=True):
                out[i] = TargetScores(found.logprobs.double().numpy(), found.greedy.numpy())
            if progress:
                progress(len(out), len(sequences))
        return finite([out[i] for i in range(len(sequences))])


def _means(targets: list[Targets]) -> torch.Tensor:
    means = [t.means.double() for t in targets if t.means is not None]
    if len(means) < len(targets):
        raise EngineRefused(
            "labels are smoothed where the answer is a label or a token", "a number", "train.regularisation.label_smoothing"
        )
    return torch.cat(means)


def group_tokens(execution: Execution) -> int:
    """Most padded tokens of a group, by the execution's settings."""
    if execution.engine == "reference":
        return 0
    return AUTO_TOKENS if execution.micro_batch_tokens == "auto" else execution.micro_batch_tokens


def padded(rows: Sequence[np.ndarray], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids side by side: ids int64 [n, longest] padded at the end, mask int64 of the same shape."""
    ids = np.full((len(rows), max(len(r) for r in rows)), pad, np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def mean_rows(hidden: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """Mean over each row's own tokens, float32 [n, width]. hidden: [n, N, width]."""
    weights = mask[..., None].to(hidden.dtype)
    return ((hidden * weights).sum(1) / weights.sum(1)).float().numpy()


def check_ids(rows: Sequence[np.ndarray], vocabulary: int, longest: int | None, fix: str) -> None:
    """Raise UserError for an empty text, an unknown token id, or a text that does not fit the model's positions."""
    for i, row in enumerate(rows):
        if not len(row):
            raise UserError("a text must have at least one token", "none", f"row {i}")
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= vocabulary:
            raise UserError(f"token ids must be in 0..{vocabulary - 1}", low if low < 0 else high, f"row {i}")
        if longest is not None and len(row) > longest:
            raise UserError(f"a text must fit the model's {longest} positions", f"{len(row)} tokens", f"row {i}", fix)
