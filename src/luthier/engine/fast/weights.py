"""Weights of a decoder, read straight from safetensors, with the trained parameters in their places.

One decision: linear layers stay in their stored precision, and one of them at a time is at hand in the dtype of the products
(see `fast.linear`); embedding and head are kept in that dtype, because a step's peak is where the head is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier.core.errors import EngineRefused
from luthier.core.execution import OTHER_ENGINES
from luthier.engine.fast.architecture import Architecture
from luthier.engine.fast.dense import Biases, Dense, Directed, Scaled, Whole
from luthier.engine.fast.linear import Adapter, Linear, needs_scratch
from luthier.engine.fast.stored import FLOATS, StoredTensors
from luthier.engine.kernels.head import Head
from luthier.engine.kernels.product import pack
from luthier.engine.methods.ia3 import vector_name
from luthier.engine.methods.lora import a_name, b_name, magnitude_name
from luthier.engine.methods.wrapping import PREFIX


@dataclass(frozen=True, slots=True)
class Block:
    """One decoder layer. Norms by what they are applied to: the input of attention and MLP, in Gemma also what comes out of
    them, in Qwen3 and Gemma 3 queries and keys. Gemma's 1 + weight is what is kept."""

    linears: dict[str, Linear]
    input_norm: torch.Tensor
    post_norm: torch.Tensor
    attention_norm: torch.Tensor | None
    mlp_norm: torch.Tensor | None
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None

    @property
    def trainable(self) -> bool:
        return any(linear.trainable for linear in self.linears.values())


class Weights:
    """The whole decoder. embed and the head's weight: [vocabulary, hidden] in the dtype of the products (the same tensor when tied)."""

    def __init__(self, embed: torch.Tensor, head: Head, norm: torch.Tensor, blocks: tuple[Block, ...]) -> None:
        self.embed, self.head, self.norm, self._blocks = embed, head, norm, blocks
        self._at_hand: int | None = None
        self._all = False

    @property
    def trained_layers(self) -> list[int]:
        return [i for i, block in enumerate(self._blocks) if block.trainable]

    def block(self, number: int) -> Block:
        """A layer whose products can be computed, until another one is asked for."""
        block = self._blocks[number]
        if not self._all and self._at_hand != number:
            for linear in block.linears.values():
                if linear.scratch is not None:
                    linear.fill()
            self._at_hand = number
        return block

    def moved(self) -> None:
        """To be called when the trained parts have moved."""
        self._at_hand = None
        for block in self._blocks:
            for linear in block.linears.values():
                if linear.trainable:
                    linear.moved()

    @contextmanager
    def all_at_hand(self, rows: int | None) -> Iterator[None]:
        """Inside, every layer has a weight of its own, for passes of few rows that would write the scratch again and again.

        rows: about as many in a product, for which weights are laid out (`packed`); None where that does not pay. No weight may change.
        """
        try:
            self.head.packed = None if rows is None else pack(self.head.weight, rows)
            for i in range(len(self._blocks)):
                for linear in self.block(i).linears.values():
                    linear.packed = None if rows is None else pack(linear.weight, rows)
                    if linear.packed is None and linear.scratch is not None:
                        linear.weight = linear.scratch.clone()
            self._all = True
            yield
        finally:
            self._all, self._at_hand, self.head.packed = False, None, None
            for linear in (linear for block in self._blocks for linear in block.linears.values()):
                linear.packed = None
                linear.weight = linear.weight if linear.scratch is None else linear.scratch

    def num_bytes(self) -> int:
        """Of the weights that products read, all layers together."""
        linears = [linear.weight for block in self._blocks for linear in block.linears.values()]
        return sum(weight.nbytes for weight in (self.head.weight, *linears))


def values_of(dtype: torch.dtype) -> torch.dtype:
    """What is kept, norms, softmax and adapters are computed in this where products are in `dtype`: float32 for bfloat16."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


@dataclass(frozen=True, slots=True)
class Trained:
    """The parameters of a method by saved name. scale: of B A. fresh: those that start as the base does are still to be filled."""

    parameters: Mapping[str, torch.nn.Parameter]
    scale: float = 1.0
    fresh: bool = True


def build_weights(folder: Path, arch: Architecture, dtype: torch.dtype, trained: Trained) -> Weights:
    """Read `folder` and lay the weights out in groups, with the trained parameters in their places.

    dtype: that of the products (see `values_of`).
    """
    stored = StoredTensors(folder)
    _check_stored(stored)
    take = _Taker(stored, arch.gemma, values_of(dtype), dtype, trained, {})
    embed = take("model.embed_tokens.weight", (arch.vocabulary, arch.hidden)).to(dtype)
    head = embed if arch.tied else take("lm_head.weight", (arch.vocabulary, arch.hidden)).to(dtype)
    blocks = tuple(_block(take, arch, f"model.layers.{i}.") for i in range(arch.layers))
    return Weights(embed, Head(head, arch.scales.logits_cap), take.norm("model.norm", arch.hidden), blocks)


def _check_stored(stored: StoredTensors) -> None:
    for name, dtype in stored.dtypes().items():
        if dtype not in FLOATS:
            raise EngineRefused("the fast engine reads float weights", f"{name} in {dtype}", str(stored.folder), OTHER_ENGINES)


@dataclass(frozen=True, slots=True)
class _Taker:
    """scratch: by group, what the layers' products read."""

    stored: StoredTensors
    one_based: bool
    dtype: torch.dtype
    products: torch.dtype
    trained: Trained
    scratch: dict[str, torch.Tensor]

    def norm(self, name: str, size: int) -> torch.Tensor:
        """What a norm multiplies by, [size]; the parameter itself where it is trained."""
        weight = self(f"{name}.weight", (size,)).to(self.dtype)
        parameter = self.trained.parameters.get(f"{PREFIX}{name}.weight")
        if parameter is None:
            return weight + 1 if self.one_based else weight
        if self.trained.fresh:
            parameter.data.copy_(weight)
        return parameter

    def __call__(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return self.stored.read(name, shape)

    def scratch_for(self, group: str, shape: torch.Size) -> torch.Tensor:
        """The group's scratch as [out, in]; all layers share it, the largest one gives its size."""
        found = self.scratch.get(group)
        if found is None or found.numel() < shape.numel():
            found = self.scratch[group] = torch.empty(shape.numel(), dtype=self.products)
        return found[: shape.numel()].view(shape)


def _block(take: _Taker, arch: Architecture, prefix: str) -> Block:
    linears = {group: _group(take, arch, prefix, group) for group in arch.groups()}
    inner = ("pre_feedforward_layernorm", "post_attention_layernorm", "post_feedforward_layernorm")
    names = inner if arch.gemma else ("post_attention_layernorm",)
    norms = [take.norm(prefix + name, arch.hidden) for name in ("input_layernorm", *names)]
    after = (norms[2], norms[3]) if arch.gemma else (None, None)
    qk = [take.norm(f"{prefix}self_attn.{n}", arch.head_dim) if arch.qk_norm else None for n in ("q_norm", "k_norm")]
    return Block(linears, norms[0], norms[1], *after, qk[0], qk[1])


def _group(take: _Taker, arch: Architecture, prefix: str, group: str) -> Linear:
    pieces = arch.groups()[group]
    shapes, at = arch.linear_shapes(), 0
    rest = torch.cat([take(f"{prefix}{p.module}.weight", shapes[p.module])[p.first : p.last] for p in pieces])
    biases: list[torch.Tensor | None] = []
    adapters: list[Adapter] = []
    dense: list[Dense] = []
    for part in pieces:
        name, rows = prefix + part.module, slice(part.first, part.last)
        columns = slice(at, at + part.last - part.first)
        at = columns.stop
        biases.append(_bias(take, arch, (group, name), shapes[part.module][:1], rows))
        found = _trained(take.trained, name, (rest[columns], biases[-1]), columns, rows)
        if isinstance(found, Adapter):
            adapters.append(found)
        elif found is not None:
            dense.append(found)
    bias = torch.cat([b.to(take.dtype) for b in biases if b is not None]) if biases[0] is not None else None
    parts = tuple(adapters), tuple(dense)
    if not needs_scratch(rest, take.products, *parts):
        rest = rest.to(take.products)
        return Linear(rest, bias, rest, None, *parts)
    scratch = take.scratch_for(group, rest.shape)
    all_trained = len(dense) == len(pieces) and all(isinstance(part, Whole) for part in dense)
    return Linear(scratch, bias, None if all_trained else rest, scratch, *parts)


def _bias(take: _Taker, arch: Architecture, at: tuple[str, str], shape: tuple[int, ...], rows: slice) -> torch.Tensor | None:
    """The stored bias of a part, zeros where a new one is trained, or None. at: the group and the layer's full name."""
    group, name = at
    if arch.qkv_bias and group in ("q", "kv"):
        return take(f"{name}.bias", shape)[rows]
    return torch.zeros(shape)[rows] if f"{PREFIX}{name}.bias" in take.trained.parameters else None


def _trained(
    trained: Trained, name: str, stored: tuple[torch.Tensor, torch.Tensor | None], columns: slice, rows: slice
) -> Adapter | Dense | None:
    """What is trained on some rows of the linear layer `name`, at its start when it is fresh. stored: weight and bias of those rows."""
    found, (weight, bias) = trained.parameters, stored
    if vector_name(name) in found:
        vector = found[vector_name(name)]
        if trained.fresh:
            vector.data.fill_(1.0)
        return Scaled(weight, bias, vector, vector.shape[0] == 1, columns, rows)
    own = found.get(f"{PREFIX}{name}.bias") if bias is not None else None
    whole = found.get(f"{PREFIX}{name}.weight")
    for parameter, start in ((own, bias), (whole, weight)):
        if trained.fresh and parameter is not None and start is not None:
            parameter.data[rows].copy_(start)
    if own is not None:
        return Biases(own, columns, rows)
    if whole is not None:
        return Whole(whole, columns, rows)
    return _low_rank(trained, name, weight, columns, rows)


def _low_rank(trained: Trained, name: str, weight: torch.Tensor, columns: slice, rows: slice) -> Adapter | Directed | None:
    """LoRA or DoRA on some rows of a layer, or None."""
    found = trained.parameters
    if a_name(name) not in found:
        return None
    a, b = found[a_name(name)], found[b_name(name)]
    if magnitude_name(name) not in found:
        return Adapter(a, b, trained.scale, columns, rows, ".".join(name.split(".")[3:]))
    magnitude = found[magnitude_name(name)]
    if trained.fresh:
        magnitude.data[rows] = torch.linalg.norm(weight.to(magnitude.dtype), dim=1)
    return Directed(weight, a, b, magnitude, trained.scale, columns, rows)
