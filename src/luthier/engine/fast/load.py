"""Builds the fast engine from a model folder, without transformers' loader.

One decision: refusals are raised before any weight is read, that of a model which does not fit the memory included.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from luthier.core.errors import EngineRefused
from luthier.core.execution import Execution
from luthier.engine.adapter import AdapterSet, AdapterSource
from luthier.engine.fast.architecture import Architecture, read_architecture
from luthier.engine.fast.decoder import Decoder
from luthier.engine.fast.engine import FastEngine
from luthier.engine.fast.weights import Trained, build_weights, values_of
from luthier.engine.memory.dimensions import Own, Trains, read_dimensions, stored_parts
from luthier.engine.memory.flops import FROZEN
from luthier.engine.memory.room import make_room
from luthier.engine.methods.bitfit import BitFitSpec, no_biases
from luthier.engine.methods.contract import MethodSpec, fill
from luthier.engine.methods.dora import DoRASpec
from luthier.engine.methods.ia3 import IA3Spec, named, vector_name
from luthier.engine.methods.last_layers import LastLayersSpec
from luthier.engine.methods.lora import LoRASpec, a_name, b_name, initial_weights, magnitude_name
from luthier.engine.methods.targets import WHERE, Layers, saved_modules
from luthier.engine.methods.wrapping import PREFIX


def load_fast(
    folder: Path, spec: MethodSpec | None, weights: dict[str, torch.Tensor] | None, seed: int, dtype: torch.dtype, execution: Execution
) -> FastEngine:
    """weights: the adapter to start from, by saved name; None for a fresh one. Raises EngineRefused or UserError.

    dtype: bfloat16 is that of the products alone.
    """
    values = values_of(dtype)
    arch = read_architecture(folder)
    layers = layers_of(arch)
    parameters = _parameters(spec, arch, layers, seed, values)
    if spec is not None and type(spec) is not LoRASpec and dtype == torch.bfloat16:
        raise EngineRefused("products in bfloat16 are for lora", spec.kind, "train.precision", "use train.precision=float32")
    room = make_room(read_dimensions(folder), trains_of(spec, arch), execution, str(dtype).removeprefix("torch."))
    if weights is not None:
        fill(parameters, weights, folder.name)
    scale = spec.scale if isinstance(spec, LoRASpec) else 1.0
    built = build_weights(folder, arch, dtype, Trained(parameters, scale, weights is None))
    with torch.no_grad():
        built.moved()
    adapters = AdapterSet(parameters, AdapterSource(spec, _modules(spec, layers), folder.name))
    return FastEngine(Decoder(arch, built), adapters, room)


def _parameters(
    spec: MethodSpec | None, arch: Architecture, layers: Layers, seed: int, dtype: torch.dtype
) -> dict[str, torch.nn.Parameter]:
    """What a method trains by saved name; what starts as the base does is empty yet. Raises EngineRefused for a method not done here."""
    found = {name: torch.zeros(shape, dtype=dtype) for name, shape in _shapes(spec, arch, layers).items()}
    if isinstance(spec, LoRASpec):
        found |= initial_weights(_adapted(spec, layers), spec, seed, dtype)
    return {name: torch.nn.Parameter(tensor) for name, tensor in found.items()}


def _shapes(spec: MethodSpec | None, arch: Architecture, layers: Layers) -> dict[str, tuple[int, ...]]:
    """The shape of each trained tensor by saved name. Raises EngineRefused for a method not done here."""
    if isinstance(spec, LoRASpec) and type(spec) in (LoRASpec, DoRASpec):
        shapes = _adapted(spec, layers)
        found: dict[str, tuple[int, ...]] = {a_name(name): (spec.rank, inner) for name, (_, inner) in shapes.items()}
        found |= {b_name(name): (out, spec.rank) for name, (out, _) in shapes.items()}
        if isinstance(spec, DoRASpec):
            found |= {magnitude_name(name): (out,) for name, (out, _) in shapes.items()}
        return found
    if isinstance(spec, LastLayersSpec):
        return {PREFIX + name: shape for name, shape in _last(spec, arch, layers).items()}
    if isinstance(spec, IA3Spec):
        return {vector_name(name): shape for name, shape in _scaled(spec, layers).items()}
    if isinstance(spec, BitFitSpec):
        return {f"{PREFIX}{name}.bias": (out,) for name, out in _biased(spec, arch, layers).items()}
    if spec is None:
        return {}
    words = "the fast engine trains lora, dora, ia3, bitfit, last_layers"
    raise EngineRefused(words, spec.kind, "train.method.kind", "use execution.engine=generic")


def _scaled(spec: IA3Spec, layers: Layers) -> dict[str, tuple[int, int]]:
    """The shape of each vector of IA3 by the name of its layer."""
    chosen = spec.choose(layers)
    return {name: (1, layers.linear[name][1]) if inner else (layers.linear[name][0], 1) for name, inner in chosen.items()}


def _biased(spec: BitFitSpec, arch: Architecture, layers: Layers) -> dict[str, int]:
    """How long each trained bias is, by the name of its layer. Raises UserError where there is none."""
    if not spec.create and not arch.qkv_bias:
        raise no_biases(arch.family)
    own = ("q_proj", "k_proj", "v_proj") if arch.qkv_bias and not spec.create else tuple(layers.linear)
    return {name: out for name, (out, _) in layers.linear.items() if name.endswith(own)}


def _modules(spec: MethodSpec | None, layers: Layers) -> tuple[str, ...]:
    """What was adapted, as the saved config names it."""
    if isinstance(spec, IA3Spec):
        return named(*spec.modules(layers))
    return saved_modules(_adapted(spec, layers), layers) if isinstance(spec, LoRASpec) else ()


def _last(spec: LastLayersSpec, arch: Architecture, layers: Layers) -> dict[str, tuple[int, ...]]:
    spec.check(arch.layers)
    if arch.gemma or arch.qk_norm or arch.qkv_bias:
        words = "the fast engine trains the last_layers of models with two norms a layer and no biases"
        raise EngineRefused(words, arch.family, "train.method.kind", "use execution.engine=generic")
    found: dict[str, tuple[int, ...]] = {"model.norm.weight": (arch.hidden,)}
    for i in range(arch.layers - spec.layers, arch.layers):
        stem = f"model.layers.{i}."
        found |= {f"{name}.weight": shape for name, shape in layers.linear.items() if name.startswith(stem)}
        found |= {f"{stem}{name}.weight": (arch.hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
    return found


def layers_of(arch: Architecture) -> Layers:
    """The decoder's linear layers by the names that transformers gives them."""
    linear = {f"model.layers.{i}.{name}": shape for i in range(arch.layers) for name, shape in arch.linear_shapes().items()}
    vocabulary = (arch.vocabulary, arch.hidden)
    return Layers(linear, {"lm_head": vocabulary, "model.embed_tokens": (arch.hidden, arch.vocabulary)})


def _adapted(spec: LoRASpec, layers: Layers) -> dict[str, tuple[int, int]]:
    chosen = spec.choose(layers)
    for name in chosen:
        if name in layers.others:
            raise EngineRefused("the fast engine adapts linear layers of the stack", name, WHERE, "use execution.engine=generic")
    return chosen


def trains_of(spec: MethodSpec | None, arch: Architecture) -> Trains:
    """What the memory model counts. Raises EngineRefused for a method that the fast engine does not train."""
    if spec is None:
        return FROZEN
    layers = layers_of(arch)
    if type(spec) is LoRASpec and _everywhere(spec, layers):
        return Trains(spec.rank, _parts(spec, layers))
    shapes = _shapes(spec, arch, layers)
    values = sum(math.prod(shape) for shape in shapes.values())
    first = min(int(name.split(".layers.")[1].split(".")[0]) for name in shapes if ".layers." in name)
    formed, flops = 0, 0.0
    if isinstance(spec, LoRASpec):
        flops = 4.0 * values
        formed = 2 * max(math.prod(shape) for shape in _adapted(spec, layers).values()) if isinstance(spec, DoRASpec) else 0
    elif isinstance(spec, IA3Spec):
        formed = max(math.prod(layers.linear[name]) for name in spec.choose(layers))
    elif isinstance(spec, LastLayersSpec):
        flops = 2.0 * values
    replaced = sum(math.prod(shape) for shape in shapes.values() if len(shape) == 2) if isinstance(spec, LastLayersSpec) else 0
    return Trains(0, stored_parts(arch.family), Own(values, first, formed, flops, not isinstance(spec, BitFitSpec), replaced))


def _parts(spec: LoRASpec, layers: Layers) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.rsplit(".", 1)[-1] for name in _adapted(spec, layers)))


def _everywhere(spec: LoRASpec, layers: Layers) -> bool:
    """Whether it adapts the same parts of every layer."""
    parts = _parts(spec, layers)
    return len(_adapted(spec, layers)) == sum(name.rsplit(".", 1)[-1] in parts for name in layers.linear)
