"""The stack of decoder layers over a pack: hidden rows forward, adapter gradients backward.

One decision: nothing below the lowest adapted layer is saved or differentiated, and the last layer gives
only the rows that somebody needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from luthier.engine.fast.architecture import Architecture
from luthier.engine.fast.block import KeyValue, Place, Rotary, Saved, block_backward, block_forward, block_saved
from luthier.engine.fast.dense import norm_gradient
from luthier.engine.fast.noisy import layer_noise
from luthier.engine.fast.weights import Weights
from luthier.engine.kernels.norm import rms_apply, rms_backward, rms_scale, rotary_angles
from luthier.engine.kernels.segments import plan_attention
from luthier.engine.trees.pack import Pack
from luthier.engine.trees.planner import PLANNING


@dataclass(slots=True)
class Run:
    """One forward pass. hidden: [U, hidden] after the final norm, for the needed rows, ascending.

    keys_values: per layer, rotated keys and values [T, kv_heads, head_dim], where they were asked for.
    saved: per layer, what its backward needs; its input [T, hidden] alone where the layer is computed again; or None.
    """

    hidden: torch.Tensor
    last: torch.Tensor
    wanted: torch.Tensor
    saved: list[Saved | torch.Tensor | None]
    places: list[Place]
    keys_values: list[KeyValue]


@dataclass(frozen=True, slots=True)
class Keep:
    """What a forward pass keeps: for a backward, or keys and values for a cache.

    recompute: of the layers that a backward passes, the lowest this many keep their input alone and are computed again
    in the backward. The lowest, because what the others kept is free by then.
    """

    backward: bool = False
    keys_values: bool = False
    recompute: int = 0


class Decoder:
    """Weights and the two passes over them."""

    def __init__(self, arch: Architecture, weights: Weights) -> None:
        self.arch, self.weights = arch, weights
        self.dtype = weights.norm.dtype
        self.lowest_trainable = next(iter(weights.trained_layers), arch.layers)

    def rotary(self, positions: torch.Tensor) -> list[Rotary]:
        """Per layer, cos and sin of the positions, [T, 1, rotated / 2]; layers of the same frequencies share them."""
        made: dict[tuple[float, ...], Rotary] = {}
        for layer in self.arch.per_layer:
            if layer.inverse_frequency not in made:
                inverse = torch.tensor(layer.inverse_frequency, dtype=torch.float32)
                made[layer.inverse_frequency] = rotary_angles(inverse, positions, self.dtype, self.arch.scales.rotary)
        return [made[layer.inverse_frequency] for layer in self.arch.per_layer]

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        """What enters the first layer, [T, hidden]."""
        rows = self.weights.embed[tokens].to(self.dtype)
        return rows if self.arch.scales.embedding == 1.0 else rows.mul_(self.arch.scales.embedding)

    def _places(self, pack: Pack, needed: np.ndarray) -> list[Place]:
        """All rows are queries but in the last layer."""
        with torch.profiler.record_function(PLANNING):
            inner = plan_attention(pack.nodes, pack.positions)
            final = plan_attention(pack.nodes, pack.positions, needed)
        plans = [inner] * (self.arch.layers - 1) + [final]
        rotary = self.rotary(inner.positions)
        noises = [layer_noise(pack.noise, i, plan.rows) for i, plan in enumerate(plans)]
        return [Place(r, layer.rule, p, n) for r, layer, p, n in zip(rotary, self.arch.per_layer, plans, noises, strict=True)]

    @torch.no_grad()
    def below(self, pack: Pack) -> torch.Tensor:
        """What enters the lowest trained layer, [T, hidden], without noise."""
        places = self._places(pack, np.arange(pack.num_rows))
        h = self.embedded(torch.from_numpy(pack.tokens))
        for i in range(self.lowest_trainable):
            h, _ = block_forward(self.weights.block(i), self.arch, h, places[i])
        return h

    def forward(
        self, pack: Pack, needed: np.ndarray, keep: Keep, prefix: list[KeyValue] | None = None, entry: torch.Tensor | None = None
    ) -> Run:
        """Hidden rows `needed` (ascending pack rows). prefix: per layer, the keys and values of `pack.skip` shared tokens.

        entry: what `below` gives for the pack, where it is known already.
        """
        places = self._places(pack, needed)
        first = 0 if entry is None else self.lowest_trainable
        h = self.embedded(torch.from_numpy(pack.tokens)) if entry is None else entry
        if entry is None and pack.noise is not None and pack.noise.rates.embedding:
            h += pack.noise.embedding(self.arch.hidden, self.dtype)
        saved: list[Saved | torch.Tensor | None] = [None] * first
        keys_values: list[KeyValue] = []
        for i in range(first, self.arch.layers):
            below = h
            h, state = block_forward(self.weights.block(i), self.arch, below, places[i], prefix[i] if prefix else None)
            if keep.keys_values:
                keys_values.append((state.k, state.v))
            again = i < self.lowest_trainable + keep.recompute
            saved.append(None if not keep.backward or i < self.lowest_trainable else below if again else state)
            del below, state  # else what is not kept would live until the next layer is done
        final = places[-1].plan.rows
        assert final is not None
        wanted = torch.searchsorted(final, torch.from_numpy(needed))
        last = h[wanted]
        hidden = rms_apply(last, rms_scale(last, self.arch.eps), self.weights.norm)
        return Run(hidden, last, wanted, saved, places, keys_values)

    def backward(self, run: Run, d_hidden: torch.Tensor) -> None:
        """Add the gradients of all adapters given that of `run.hidden`. Frees what the run saved, layer by layer."""
        scale = rms_scale(run.last, self.arch.eps)
        norm_gradient(self.weights.norm, d_hidden, run.last, scale)
        d_last = rms_backward(d_hidden, run.last, scale, self.weights.norm)
        final = run.places[-1].plan.rows
        assert final is not None
        d_h: torch.Tensor | None = d_last.new_zeros(len(final), self.arch.hidden).index_copy_(0, run.wanted, d_last)
        for i in range(self.arch.layers - 1, self.lowest_trainable - 1, -1):
            state, block = run.saved[i], self.weights.block(i)
            assert state is not None
            assert d_h is not None
            if isinstance(state, torch.Tensor):
                state = block_saved(block, self.arch, state, run.places[i])
            d_h = block_backward(block, self.arch, d_h, state, run.places[i], i > self.lowest_trainable)
            run.saved[i] = None
