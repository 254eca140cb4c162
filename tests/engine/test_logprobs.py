"""Log-probabilities keep float32's precision over a large vocabulary, where torch's log-softmax on a CPU does not."""

from __future__ import annotations

import torch

from luthier.engine.logprobs import log_probabilities


def test_no_bias_over_a_large_vocabulary() -> None:
    logits = torch.randn(32, 49_152, generator=torch.Generator().manual_seed(0)) * 3
    exact = torch.log_softmax(logits.double(), -1)
    assert (log_probabilities(logits) - exact).abs().max() < 4e-6
    assert (log_probabilities(logits) - exact).mean().abs() < 2e-7


def test_gradient_is_that_of_log_softmax() -> None:
    logits = torch.randn(5, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weights = torch.randn(5, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (found,) = torch.autograd.grad((log_probabilities(logits) * weights).sum(), logits)
    (wanted,) = torch.autograd.grad((torch.log_softmax(logits, -1) * weights).sum(), logits)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
