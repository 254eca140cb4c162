"""A group of linear layers that are one product: as stored at rest, and what products read while the group is at hand.

One decision: the sum of the stored weight and its adapters (W + scale * B @ A) exists for one decoder layer at a time, in a scratch
that all layers share, written when a pass comes to the layer. It is exact in float32 and float64 up to rounding; bfloat16 would
swallow a small update, so there the base is multiplied alone and the adapters' own products are added.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from luthier.engine.fast.dense import Biases, Dense


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
    """weight [out, in]: what products read, adapters merged unless it is in bfloat16; bias [out] or None.

    rest: [out, in] as stored (rounded to bfloat16 where products are); None where all of it is trained.
    scratch: what `weight` is written to by `fill`, shared with the other layers; None where `weight` is `rest`.
    dense: trained parts whose gradient is formed whole; their columns of `weight` and `bias` are theirs alone.
    packed: see `Weights.all_at_hand`.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    rest: torch.Tensor | None
    scratch: torch.Tensor | None = None
    adapters: tuple[Adapter, ...] = ()
    dense: tuple[Dense, ...] = ()
    low: LowAdapters | None = None
    packed: torch.Tensor | None = None

    @property
    def merged(self) -> bool:
        return self.weight.dtype != torch.bfloat16

    @property
    def trainable(self) -> bool:
        return bool(self.adapters or self.dense)

    def fill(self) -> None:
        """Write the scratch, and what is trained of the bias."""
        assert self.scratch is not None
        if self.rest is not None:
            self.scratch.copy_(self.rest)
        for adapter in self.adapters:
            self.scratch[adapter.columns].addmm_(adapter.b.detach()[adapter.rows], adapter.a.detach(), alpha=adapter.scale)
        for part in self.dense:
            part.merge(self.scratch, self.bias)

    def moved(self) -> None:
        """The trained parts have moved: bring up to date what `fill` does not."""
        if not self.merged:
            self.low = self._lowered()
        elif self.scratch is None:
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


def needs_scratch(rest: torch.Tensor, dtype: torch.dtype, adapters: tuple[Adapter, ...], dense: tuple[Dense, ...]) -> bool:
    """Whether products in `dtype` read another weight than the one at rest."""
    if dtype == torch.bfloat16:
        return False
    return bool(adapters) or rest.dtype != dtype or any(not isinstance(part, Biases) for part in dense)
