"""The output layer on supervised rows only, by torch's autograd, a chunk of rows at a time.

One decision: a chunk's backward runs before the next chunk's logits exist, so no [T, vocabulary] tensor is kept; the output
layer may have a bias, a cap, or trained weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from luthier.engine.kernels.chunks import chunk_rows
from luthier.engine.kernels.head import row_chunks
from luthier.engine.logprobs import log_probabilities

Logits = Callable[[torch.Tensor], torch.Tensor]
"""Hidden rows [U, hidden] -> logits [U, vocabulary]."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """M targets: row, int64 [M], ascending positions in the hidden rows; token, int64 [M]; vocabulary: columns of the logits."""

    row: torch.Tensor
    token: torch.Tensor
    vocabulary: int


@torch.no_grad()
def scores(logits_of: Logits, hidden: torch.Tensor, wanted: Wanted) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target, [M] in the dtype of `hidden`, and whether it is the most probable token, bool [M]."""
    out, top = hidden.new_empty(len(wanted.row)), torch.empty(len(wanted.row), dtype=torch.bool)
    for rows, span in row_chunks(len(hidden), wanted.row, chunk_rows(wanted.vocabulary)):
        logits = logits_of(hidden[rows])
        here, token = wanted.row[span] - rows.start, wanted.token[span]
        out[span] = logits[here, token] - logits.logsumexp(-1)[here]
        top[span] = logits.argmax(-1)[here] == token
    return out, top


def gradient(
    logits_of: Logits, hidden: torch.Tensor, wanted: Wanted, coefficient: torch.Tensor, of_mean: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Log-probabilities [M], their means over the vocabulary [M] (None without `of_mean`), and the gradient of `hidden`.

    The loss is -sum(coefficient * logprob) - sum(of_mean * mean_logprob), each [M]. Gradients of the output layer's own
    parameters are added to theirs.
    """
    leaf = hidden.detach().requires_grad_()
    out = hidden.new_empty(len(wanted.row))
    means = None if of_mean is None else torch.empty_like(out)
    for rows, span in row_chunks(len(hidden), wanted.row, chunk_rows(wanted.vocabulary)):
        with torch.enable_grad():
            logprobs = log_probabilities(logits_of(leaf[rows]))
            here = wanted.row[span] - rows.start
            chosen = logprobs[here, wanted.token[span]]
            value = -(coefficient[span] * chosen).sum()
            if means is not None and of_mean is not None:
                mean = logprobs.mean(-1)[here]
                value = value - (of_mean[span] * mean).sum()
                means[span] = mean.detach()
        out[span] = chosen.detach()
        value.backward()
    assert leaf.grad is not None
    return out, means, leaf.grad
