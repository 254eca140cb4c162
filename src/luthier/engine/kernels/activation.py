"""The gate of an MLP and its derivative: SiLU, GELU, and GELU by tanh.

One decision: torch's own forward and backward operations, written into the caller's tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True, slots=True)
class Activation:
    """forward(x) gives a new tensor; backward(d, x, out) writes d * forward'(x) into `out`."""

    name: str
    forward: Callable[[torch.Tensor], torch.Tensor]
    backward: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _silu_backward(d: torch.Tensor, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.silu_backward.grad_input(d, x, grad_input=out)


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x)


def _gelu_backward(d: torch.Tensor, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.gelu_backward.grad_input(d, x, approximate="none", grad_input=out)


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x, approximate="tanh")


def _gelu_tanh_backward(d: torch.Tensor, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.gelu_backward.grad_input(d, x, approximate="tanh", grad_input=out)


ACTIVATIONS = {
    "silu": Activation("silu", F.silu, _silu_backward),
    "gelu": Activation("gelu", _gelu, _gelu_backward),
    "gelu_pytorch_tanh": Activation("gelu_pytorch_tanh", _gelu_tanh, _gelu_tanh_backward),
}
"""By the name in a transformers config."""
