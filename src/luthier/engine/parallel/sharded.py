"""The reference engine with the frozen weights of its model divided between the processes of a run (FSDP2).

One decision: only what is frozen is divided. Trainable weights stay whole everywhere, so gradients, steps and checkpoints are
those of undivided processes. Processes meet in every layer, so each takes as many passes as the one with most rows.
Source: PyTorch FSDP2, torch.distributed.fsdp.fully_shard.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.core.errors import EngineRefused
from luthier.core.execution import Execution
from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import Batch, Loss, NonFiniteLoss, StepOutput, TokenSequence
from luthier.engine.objective import check_needs
from luthier.engine.parallel import group
from luthier.engine.reference.engine import ReferenceEngine
from luthier.engine.reference.load import load_model, put_on

WHY = "execution.shard divides the weights of plain transformers; the fast engine keeps merged weights of its own"


def load_sharded(folder: Path, spec: Any, execution: Execution, seed: int, dtype: str) -> ReferenceEngine:
    """The reference engine, its frozen weights divided. All processes of the group call this. Raises EngineRefused or UserError."""
    if execution.engine not in ("auto", "reference"):
        raise EngineRefused("execution.engine=reference or auto is wanted", execution.engine, "execution.shard", WHY)
    if dtype not in ("float32", "float64"):
        raise EngineRefused("float32 or float64 is wanted of divided weights", dtype, "train.precision", "train.precision=float32")
    tuned = put_on(load_model(folder, torch.float64 if dtype == "float64" else torch.float32), spec, None, seed, folder.name)
    if tuned.root is not None:
        raise EngineRefused("a method inside the layers is wanted of divided weights", type(spec).__name__, "execution.shard")
    engine = ShardedReference(tuned.model, tuned.adapters)
    engine.refusal = None if execution.engine == "reference" else WHY
    return engine


class ShardedReference(ReferenceEngine):
    """See the module. A verb ends only when every process of the group carries it out."""

    def __init__(self, model: Any, adapters: AdapterSet) -> None:
        divide_weights(model, adapters)
        super().__init__(model, adapters)

    def forward_backward(self, batch: Batch, loss: Loss) -> StepOutput:
        """Of this process's share, which may be empty. The loss must be linear."""
        check_needs(loss)
        self._check(batch.sequences)
        self._adapters.ensure_gradients()
        total = 0.0
        try:
            for i in range(group.largest(len(batch.sequences))):
                if i < len(batch.sequences) and np.any(batch.sequences[i].weights):
                    total += self._backward(batch, (i,), loss)
                else:
                    self._backward(_IDLE, (0,), _Nothing())
        except NonFiniteLoss:
            self._adapters.clear_gradients()
            raise
        tokens = sum(len(s.tokens) for s in batch.sequences)
        return StepOutput(total, sum(int(np.count_nonzero(s.weights)) for s in batch.sequences), tokens, tokens)

    def _hidden(self, tokens: np.ndarray) -> torch.Tensor:
        """Through the whole model, which gathers what is outside its layers. [N, hidden]."""
        ids = torch.from_numpy(tokens.astype(np.int64))[None]
        out = self._model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, output_hidden_states=True, logits_to_keep=1)
        return out.hidden_states[-1][0]

    def _check_finite(self, value: torch.Tensor, logprobs: torch.Tensor, sequence: np.ndarray) -> None:
        """Before the backward pass all stop together, or none does."""
        fault = None
        try:
            super()._check_finite(value, logprobs, sequence)
        except NonFiniteLoss as err:
            fault = err
        if group.largest(int(fault is not None)):
            raise fault or NonFiniteLoss("the loss")


class _Nothing:
    """A loss of zero with a gradient of zero."""

    needs = frozenset({"logprobs"})
    linear = True

    def coefficients(self, weights_N: Any) -> Any:
        return weights_N * 0

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any) -> Any:
        return (logprobs_N * 0).sum()


_IDLE = Batch((TokenSequence(np.zeros(2, np.int32), np.array([0, 1], np.float32)),), 1.0)
"""What a process computes while others still have rows."""


def divide_weights(model: Any, adapters: AdapterSet) -> None:
    """Leave in this process its part of every frozen weight; a layer's weights are gathered while it computes.

    Raises EngineRefused where nothing is frozen, or what is frozen cannot be divided.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    trained = {id(p) for p in adapters.parameters.values()}
    frozen = [p for p in model.parameters() if id(p) not in trained]
    _check_divisible(frozen, adapters)
    mesh = init_device_mesh(frozen[0].device.type, (group.size(),))
    whole = set(adapters.parameters.values())
    layers = max((m for m in model.get_decoder().modules() if isinstance(m, torch.nn.ModuleList)), key=len)
    for module in (*layers, model):  # the last has what is outside the layers
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=whole)


def _check_divisible(frozen: list[torch.nn.Parameter], adapters: AdapterSet) -> None:
    if not adapters.parameters:
        return
    if sum(p.numel() for p in frozen) < adapters.num_trainable:
        raise EngineRefused(
            "most weights must be frozen to be divided between processes", "a method that trains most of them", "execution.shard"
        )
    kinds = {str(p.dtype) for p in frozen if not p.is_floating_point()}
    if kinds:
        raise EngineRefused("weights in floating point are wanted to be divided between processes", ", ".join(kinds), "execution.shard")
