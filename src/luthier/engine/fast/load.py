"""Builds the fast engine from a model folder, without transformers' loader.

One decision: refusals are raised before any weight is read, that of a model which does not fit the memory included.
"""

from __future__ import annotations

from pathlib import Path

import torch

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.engine.adapter import AdapterSet, AdapterSource
from luthier.engine.fast.architecture import Architecture, read_architecture
from luthier.engine.fast.decoder import Decoder
from luthier.engine.fast.engine import FastEngine
from luthier.engine.fast.weights import build_weights, values_of
from luthier.engine.memory.dimensions import Trains, read_dimensions
from luthier.engine.memory.flops import FROZEN
from luthier.engine.memory.room import make_room
from luthier.engine.methods.lora import LoRASpec, initial_weights


def load_fast(
    folder: Path, spec: LoRASpec | None, weights: dict[str, torch.Tensor] | None, seed: int, dtype: torch.dtype, execution: Execution
) -> FastEngine:
    """weights: the adapter to start from, by saved name; None for a fresh one. Raises EngineRefused or UserError.

    dtype: bfloat16 is that of the products alone.
    """
    values = values_of(dtype)
    arch = read_architecture(folder)
    modules = spec.resolve(linear_names(arch)) if spec else ()
    shapes = _adapted_shapes(arch, modules)
    trains = Trains(spec.rank, modules) if spec else FROZEN
    room = make_room(read_dimensions(folder), trains, execution, str(dtype).removeprefix("torch."))
    start = {} if spec is None else (initial_weights(shapes, spec, seed, values) if weights is None else weights)
    _check(start, shapes, spec)
    parameters = {name: torch.nn.Parameter(tensor.to(values).clone()) for name, tensor in start.items()}
    built = build_weights(folder, arch, dtype, parameters, spec.scale if spec else 1.0)
    with torch.no_grad():
        built.merge()
    adapters = AdapterSet(parameters, AdapterSource(spec, modules, folder.name))
    return FastEngine(Decoder(arch, built), adapters, room)


def linear_names(arch: Architecture) -> tuple[str, ...]:
    """Last names of a layer's linear modules, in the order of computation."""
    return tuple(name.rsplit(".", 1)[-1] for name in arch.linear_shapes())


def _adapted_shapes(arch: Architecture, modules: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    return {
        f"model.layers.{i}.{name}": shape
        for i in range(arch.layers)
        for name, shape in arch.linear_shapes().items()
        if name.rsplit(".", 1)[-1] in modules
    }


def _check(weights: dict[str, torch.Tensor], shapes: dict[str, tuple[int, int]], spec: LoRASpec | None) -> None:
    wanted = {} if spec is None else {k: tuple(v.shape) for k, v in initial_weights(shapes, spec, 0, torch.float32).items()}
    if {k: tuple(v.shape) for k, v in weights.items()} != wanted:
        raise UserError("the adapter must be of this model and method", f"{len(weights)} tensors, {len(wanted)} wanted")
