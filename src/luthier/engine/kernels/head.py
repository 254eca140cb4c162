"""The output head on supervised rows only: log-probabilities, and the gradient of the hidden rows, by chunks.

One decision: logits exist for one chunk of rows at a time. For a linear loss the gradient is formed in the
chunk that computed them; otherwise log-probabilities come first and the chunk is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from luthier.engine.kernels.chunks import chunk_rows
from luthier.engine.kernels.product import multiply


@dataclass(slots=True)
class Head:
    """weight: [vocabulary, hidden]. cap: logits become cap * tanh(logits / cap) (Gemma 2); None for none.

    packed: see `Weights.all_at_hand`.
    """

    weight: torch.Tensor
    cap: float | None = None
    packed: torch.Tensor | None = None

    def logits(self, hidden: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """[U, vocabulary] of hidden rows [U, hidden], in their dtype; the product is in that of the weight."""
        if hidden.dtype == self.weight.dtype:
            logits = multiply(hidden, self.weight, None, self.packed) if out is None else torch.mm(hidden, self.weight.t(), out=out)
        else:
            low = hidden.to(self.weight.dtype) @ self.weight.t()
            logits = low.to(hidden.dtype) if out is None else out.copy_(low)
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)

    def bend(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Derivative of the cap at logits that are capped; None without one."""
        return None if self.cap is None else (logits / self.cap).square_().neg_().add_(1)


def head_forward(hidden: torch.Tensor, head: Head, row: torch.Tensor, token: torch.Tensor, top: torch.Tensor | None = None) -> torch.Tensor:
    """Log-probability of each target.

    hidden: [U, hidden] rows; row: int64 [M], ascending positions in `hidden`;
    token: int64 [M]; top: bool [M], filled in where it is wanted: the target is the argmax of its row's logits.
    Returns [M] in the dtype of `hidden`.
    """
    out = hidden.new_empty(len(row))
    for rows, span in row_chunks(len(hidden), row, chunk_rows(len(head.weight))):
        logits = head.logits(hidden[rows])
        here = row[span] - rows.start
        out[span] = logits[here, token[span]] - torch.logsumexp(logits, -1)[here]
        if top is not None:
            top[span] = (logits.argmax(-1)[here] == token[span]).to(top.device)
    return out


def head_backward(
    hidden: torch.Tensor,
    head: Head,
    row: torch.Tensor,
    token: torch.Tensor,
    coefficient: torch.Tensor,
    of_mean: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Log-probabilities [M], their means over the vocabulary [M], and the gradient of `hidden` (all in its dtype).

    The loss is -sum(coefficient * logprob) - sum(of_mean * mean_logprob); without `of_mean` the means are None.
    A row may carry several targets: its gradient is (sum(c + m) * softmax - sum(c * onehot) - sum(m) / vocabulary) @ weight,
    where the logits are capped times 1 - (logits / cap)^2.
    """
    out, d_hidden = hidden.new_empty(len(row)), torch.empty_like(hidden)
    means = None if of_mean is None else torch.empty_like(out)
    size = chunk_rows(len(head.weight))
    scratch = hidden.new_empty(min(size, len(hidden)), len(head.weight))
    for rows, span in row_chunks(len(hidden), row, size):
        logits = head.logits(hidden[rows], scratch[: rows.stop - rows.start])
        bend = head.bend(logits)
        here, c = row[span] - rows.start, coefficient[span]
        chosen, largest = logits[here, token[span]], logits.amax(-1, keepdim=True)
        middle = logits.mean(-1) if means is not None else None
        exps = logits.sub_(largest).exp_()
        mass = exps.sum(-1, keepdim=True)
        log_mass = (largest + mass.log())[:, 0]
        out[span] = chosen - log_mass[here]
        total, uniform = _sum_by_row(c, here, mass), None
        if of_mean is not None and means is not None and middle is not None:
            means[span] = (middle - log_mass)[here]
            uniform = _sum_by_row(of_mean[span], here, mass)
            total += uniform
        slope = exps.mul_(total / mass)
        slope.index_put_((here, token[span]), -c, accumulate=True)
        if uniform is not None:
            slope.sub_(uniform / len(head.weight))
        if bend is not None:
            slope.mul_(bend)
        d_hidden[rows] = slope.to(head.weight.dtype) @ head.weight
    return out, means, d_hidden


def _sum_by_row(values: torch.Tensor, at: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(like).index_add_(0, at, values[:, None])


def row_chunks(num_rows: int, row: torch.Tensor, size: int) -> list[tuple[slice, slice]]:
    """Slices of rows with the slice of (ascending) targets that fall on them."""
    edges = [*range(0, num_rows, size), num_rows]
    at = torch.searchsorted(row, torch.tensor(edges)).tolist()
    return [(slice(a, b), slice(i, j)) for a, b, i, j in zip(edges[:-1], edges[1:], at[:-1], at[1:], strict=True)]
