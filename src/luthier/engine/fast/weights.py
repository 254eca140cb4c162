"""Weights of a frozen decoder, read straight from safetensors, and the same with LoRA merged in.

One decision: the base stays in its stored precision; products use a merged copy in the compute dtype
(W + scale * B @ A), rebuilt when the adapter moves. Merging is exact in float32 and float64 up to rounding; bfloat16
would swallow a small update, so there the base is multiplied alone and the adapters' own products are added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from luthier.core.errors import CorruptArtifact, EngineRefused, UserError
from luthier.engine.fast.architecture import Architecture
from luthier.engine.fast.dense import Biases, Dense, Directed, Scaled, Whole
from luthier.engine.kernels.head import Head
from luthier.engine.kernels.product import pack
from luthier.engine.methods.ia3 import vector_name
from luthier.engine.methods.lora import a_name, b_name, magnitude_name
from luthier.engine.methods.wrapping import PREFIX


@dataclass(frozen=True, slots=True)
class Adapter:
    """One linear layer's LoRA: a [rank, in], b [out, rank]; the `rows` of b give the `columns` of the group's output.

    module: the layer's name inside its block.
    """

    a: torch.nn.Parameter
    b: torch.nn.Parameter
    scale: float
    columns: slice
    rows: slice
    module: str


@dataclass(frozen=True, slots=True)
class LowAdapters:
    """All adapters of a group in bfloat16: a [ranks, in]; b [out, ranks], zero outside their own columns, times the scale."""

    a: torch.Tensor
    b: torch.Tensor


@dataclass(slots=True)
class Linear:
    """A group of linear layers: weight [out, in], adapters merged unless it is in bfloat16; bias [out] or None.

    dense: trained parts whose gradient is formed whole; their columns of `weight` and `bias` are theirs alone.
    packed: see `Weights.packed`.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    parts: tuple[torch.Tensor, ...]
    adapters: tuple[Adapter, ...]
    dense: tuple[Dense, ...] = ()
    low: LowAdapters | None = None
    packed: torch.Tensor | None = None

    @property
    def merged(self) -> bool:
        return self.weight.dtype != torch.bfloat16

    @property
    def trainable(self) -> bool:
        return bool(self.adapters or self.dense)

    def merge(self) -> None:
        """Bring `weight`, or `low`, up to date with the adapters."""
        if not self.merged:
            self.low = self._lowered()
            return
        at = 0
        for part in self.parts:
            self.weight[at : at + len(part)].copy_(part)
            at += len(part)
        for adapter in self.adapters:
            self.weight[adapter.columns].addmm_(adapter.b.detach()[adapter.rows], adapter.a.detach(), alpha=adapter.scale)
        for part in self.dense:
            part.merge(self.weight, self.bias)

    def _lowered(self) -> LowAdapters:
        a = torch.cat([adapter.a.detach() for adapter in self.adapters])
        b, at = a.new_zeros(len(self.weight), len(a)), 0
        for adapter in self.adapters:
            rank = len(adapter.a)
            b[adapter.columns, at : at + rank] = adapter.scale * adapter.b.detach()[adapter.rows]
            at += rank
        return LowAdapters(a.to(self.weight.dtype), b.to(self.weight.dtype))


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


@dataclass(frozen=True, slots=True)
class Weights:
    """embed and the head's weight: [vocabulary, hidden] in the dtype of the products (the same tensor when tied)."""

    embed: torch.Tensor
    head: Head
    norm: torch.Tensor
    blocks: tuple[Block, ...]

    def merge(self) -> None:
        for block in self.blocks:
            for linear in block.linears.values():
                if linear.trainable:
                    linear.merge()

    @contextmanager
    def packed(self, rows: int) -> Iterator[None]:
        """Inside, every product reads a copy of its weight that is laid out for about `rows` rows; no weight may change."""
        holders = [self.head, *(linear for block in self.blocks for linear in block.linears.values())]
        try:
            for holder in holders:
                holder.packed = pack(holder.weight, rows)
            yield
        finally:
            for holder in holders:
                holder.packed = None

    def num_bytes(self) -> int:
        """Of the weights that products read."""
        linears = [linear.weight for block in self.blocks for linear in block.linears.values()]
        return sum(weight.nbytes for weight in (self.head.weight, *linears))


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder's safetensors files, in their stored precision. Raises UserError or CorruptArtifact."""
    index = folder / "model.safetensors.index.json"
    try:
        names = ["model.safetensors"]
        if index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        tensors: dict[str, torch.Tensor] = {}
        for name in names:
            if not (folder / name).is_file():
                raise UserError("a model folder must hold its weights as safetensors", f"no {name}", str(folder))
            with safe_open(folder / name, "pt") as f:
                tensors.update({key: f.get_tensor(key) for key in f.keys()})  # noqa: SIM118 - not a mapping
    except (SafetensorError, json.JSONDecodeError, KeyError) as err:
        raise CorruptArtifact(f"the weights in {folder} cannot be read ({err}): fetch or convert the model again") from None
    return tensors


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
    tensors = read_tensors(folder)
    _check_stored(tensors, folder)
    take = _Taker(tensors, folder, arch.gemma, values_of(dtype), dtype, trained)
    embed = take("model.embed_tokens.weight", (arch.vocabulary, arch.hidden)).to(dtype)
    head = embed if arch.tied else take("lm_head.weight", (arch.vocabulary, arch.hidden)).to(dtype)
    blocks = tuple(_block(take, arch, f"model.layers.{i}.") for i in range(arch.layers))
    return Weights(embed, Head(head, arch.scales.logits_cap), take.norm("model.norm", arch.hidden), blocks)


def _check_stored(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
            raise EngineRefused("the fast engine reads float weights", f"{name} in {tensor.dtype}", str(folder), "use engine=generic")


@dataclass(frozen=True, slots=True)
class _Taker:
    tensors: Mapping[str, torch.Tensor]
    folder: Path
    one_based: bool
    dtype: torch.dtype
    products: torch.dtype
    trained: Trained

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
        if name not in self.tensors:
            raise CorruptArtifact(f"the weights in {self.folder} lack {name}: fetch or convert the model again")
        if tuple(self.tensors[name].shape) != shape:
            raise CorruptArtifact(f"{name} in {self.folder} has shape {tuple(self.tensors[name].shape)}, the config says {shape}")
        return self.tensors[name]


def _block(take: _Taker, arch: Architecture, prefix: str) -> Block:
    linears = {group: _group(take, arch, prefix, group) for group in arch.groups()}
    inner = ("pre_feedforward_layernorm", "post_attention_layernorm", "post_feedforward_layernorm")
    names = inner if arch.gemma else ("post_attention_layernorm",)
    norms = [take.norm(prefix + name, arch.hidden) for name in ("input_layernorm", *names)]
    after = (norms[2], norms[3]) if arch.gemma else (None, None)
    qk = [take.norm(f"{prefix}self_attn.{n}", arch.head_dim) if arch.qk_norm else None for n in ("q_norm", "k_norm")]
    return Block(linears, norms[0], norms[1], *after, qk[0], qk[1])


def _group(take: _Taker, arch: Architecture, prefix: str, group: str) -> Linear:
    shapes, parts, biases, at = arch.linear_shapes(), [], [], 0
    adapters: list[Adapter] = []
    dense: list[Dense] = []
    for part in arch.groups()[group]:
        name, rows = prefix + part.module, slice(part.first, part.last)
        columns = slice(at, at + part.last - part.first)
        at = columns.stop
        parts.append(take(f"{name}.weight", shapes[part.module])[rows])
        biases.append(_bias(take, arch, (group, name), shapes[part.module][:1], rows))
        found = _trained(take.trained, name, (parts[-1], biases[-1]), columns, rows)
        if isinstance(found, Adapter):
            adapters.append(found)
        elif found is not None:
            dense.append(found)
    bias = torch.cat([b.to(take.dtype) for b in biases if b is not None]) if biases[0] is not None else None
    linear = Linear(torch.cat(parts).to(take.products), bias, (), tuple(adapters), tuple(dense))
    if adapters and linear.merged:
        linear.parts = tuple(parts)
    return linear


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
