"""Log-probabilities over a vocabulary, for the engines that hold whole logits.

One decision: logits minus their log-sum-exp, and not `torch.log_softmax`, whose float32 sum on a CPU is 9e-6 too small
over 49,152 tokens (docs/log.md): every loss would be that much too low, every probability that much too high.
"""

from __future__ import annotations

import torch


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Of logits [..., vocabulary], in their shape and dtype, with a graph where they have one."""
    return logits - logits.logsumexp(-1, keepdim=True)
