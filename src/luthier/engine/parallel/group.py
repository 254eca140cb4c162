"""What the processes of one run say to each other in tensors: sums, copies, and whether they hold the same bytes.

One decision: they meet over a file and talk over the loopback interface on ports that the kernel picks, so two runs
on one machine never meet each other. gloo carries tensors of the CPU, NCCL those of GPUs.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others inside one exchange; they enter it at almost the same time."""


def join(rank: int, size: int, meeting: Path) -> None:
    """Become process `rank` of `size`; returns when all have joined. meeting: a file that does not exist yet, the same for all."""
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(rank % torch.cuda.device_count())
    with _on_loopback():
        dist.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=PATIENCE)


def leave() -> None:
    """Give the group up; the others need not be there any more."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """gloo otherwise looks up the host's name, which not every machine can resolve. An interface that the user named stays."""
    name = "GLOO_SOCKET_IFNAME"
    given, loopback = os.environ.get(name), next((n for _, n in socket.if_nameindex() if n.startswith("lo")), None)
    if given is None and loopback is not None:
        os.environ[name] = loopback
    try:
        yield
    finally:
        if given is None:
            os.environ.pop(name, None)


def size() -> int:
    """Processes in the group."""
    return dist.get_world_size()


def largest(number: int) -> int:
    """The largest of the numbers that the processes give."""
    shared = torch.tensor([number])
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def summed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The sum over all processes, by name. All give the same names and shapes, and all get the same bytes."""
    out: dict[str, torch.Tensor] = {}
    for dtype in sorted({t.dtype for t in tensors.values()}, key=str):
        names = [name for name in sorted(tensors) if tensors[name].dtype == dtype]
        flat = torch.cat([tensors[name].reshape(-1) for name in names])
        dist.all_reduce(flat)
        pieces = flat.split([tensors[name].numel() for name in names])
        out.update({name: piece.view(tensors[name].shape) for name, piece in zip(names, pieces, strict=True)})
    return out


def copied(
    outline: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], tensors: Mapping[str, torch.Tensor] | None
) -> dict[str, torch.Tensor]:
    """The first process's tensors in every process. outline: type and shape by name; tensors: given by the first one alone."""
    out = {}
    for name, (dtype, shape) in sorted(outline.items()):
        tensor = torch.empty(shape, dtype=dtype) if tensors is None else tensors[name].contiguous()
        if tensor.numel():
            dist.broadcast(tensor.view(-1).view(torch.uint8), 0)
        out[name] = tensor
    return out


def fingerprint(state: Mapping[str, Any]) -> str:
    """sha256 of every name and value, tensors by their bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
