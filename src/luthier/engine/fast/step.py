"""One decoding step: one new token for each of several sequences, over cached keys and values.

One decision: tokens shared by all sequences are cached once and read as one rectangle; each sequence's own tokens
lie in a slot of one preallocated tensor, the sequences in use always in the first slots, so no step copies the cache.
"""

from __future__ import annotations

import torch

from luthier.engine.fast.architecture import Architecture
from luthier.engine.fast.block import KeyValue, Rotary, attention_out
from luthier.engine.fast.decoder import Decoder
from luthier.engine.fast.products import project, project_onto
from luthier.engine.fast.weights import Block
from luthier.engine.kernels.attention import Slots, attend_cached
from luthier.engine.kernels.norm import rms_apply, rms_scale, rotate


class SlotCache:
    """Keys and values of the sequences under way.

    prefix: per layer, keys and values [P, kv_heads, head_dim] that all share, or None; skip: P.
    own: per layer, keys and values [slots, kv_heads, capacity, head_dim], of which the first `in_use` slots count.
    length: int64 [in_use], own tokens cached.
    """

    def __init__(self, arch: Architecture, dtype: torch.dtype, prefix: list[KeyValue] | None, skip: int) -> None:
        self.prefix, self.skip = prefix, skip
        self.length = torch.zeros(0, dtype=torch.int64)
        self.slots = self.capacity = 0
        self._shape = (arch.kv_heads, arch.head_dim)
        empty = torch.zeros(0, arch.kv_heads, 0, arch.head_dim, dtype=dtype)
        self.own: list[KeyValue] = [(empty, empty)] * arch.layers

    @property
    def in_use(self) -> int:
        return len(self.length)

    @property
    def widest(self) -> int:
        """Own tokens of the longest sequence in use."""
        return int(self.length.max()) if self.in_use else 0

    def resize(self, slots: int, capacity: int) -> None:
        """Make room for `slots` sequences of `capacity` tokens (at least what is in use), one layer after the other."""
        n, widest = self.in_use, self.widest
        for i, old in enumerate(self.own):
            pair = []
            for tensor in old:
                new = tensor.new_zeros(slots, self._shape[0], capacity, self._shape[1])
                new[:n, :, :widest] = tensor[:n, :, :widest]
                pair.append(new)
            self.own[i] = (pair[0], pair[1])
        self.slots, self.capacity = slots, capacity

    def add(self, keys_values: list[KeyValue], rows: list[torch.Tensor]) -> None:
        """Take new sequences into the next slots. keys_values: per layer, of a pack; rows: each sequence's rows in it."""
        first = self.in_use
        for (keys, values), (k, v) in zip(self.own, keys_values, strict=True):
            for j, at in enumerate(rows):
                keys[first + j, :, : len(at)] = k[at].transpose(0, 1)
                values[first + j, :, : len(at)] = v[at].transpose(0, 1)
        self.length = torch.cat([self.length, torch.tensor([len(at) for at in rows], dtype=torch.int64)])

    def remove(self, slot: int) -> None:
        """Give up a slot; the last one in use moves into it."""
        last, n = self.in_use - 1, int(self.length[-1])
        if slot != last:
            for keys, values in self.own:
                keys[slot, :, :n] = keys[last, :, :n]
                values[slot, :, :n] = values[last, :, :n]
            self.length[slot] = n
        self.length = self.length[:last]


def decode_step(decoder: Decoder, cache: SlotCache, tokens: torch.Tensor) -> torch.Tensor:
    """Append one token per sequence in use (int64 [n]) to the cache; returns the logits after it, [n, vocabulary]."""
    arch, weights, n = decoder.arch, decoder.weights, len(tokens)
    positions = cache.length + cache.skip
    rotary = decoder.rotary(positions)
    h = decoder.embedded(tokens)
    widest = cache.widest + 1
    hidden = torch.arange(widest)[None] > cache.length[:, None]
    mask = torch.zeros(hidden.shape, dtype=h.dtype).masked_fill_(hidden, float("-inf"))[:, None, None]
    slots = Slots(positions, mask, cache.skip + cache.widest)
    slot_head = torch.arange(n * arch.kv_heads).view(n, arch.kv_heads)
    at = (slot_head * cache.capacity + cache.length[:, None]).flatten()
    for i in range(arch.layers):
        block = weights.block(i)
        q, k, v = _query_key_value(decoder, block, h, rotary[i])
        keys, values = cache.own[i]
        keys.view(-1, arch.head_dim).index_copy_(0, at, k.reshape(-1, arch.head_dim))
        values.view(-1, arch.head_dim).index_copy_(0, at, v.reshape(-1, arch.head_dim))
        own = (keys[:n, :, :widest], values[:n, :, :widest])
        out = attend_cached(q, own, slots, cache.prefix[i] if cache.prefix else None, arch.per_layer[i].rule)
        h = _rest(block, arch, out.reshape(n, -1), h)
    cache.length += 1
    return weights.head.logits(rms_apply(h, rms_scale(h, arch.eps), weights.norm))


def _rest(block: Block, arch: Architecture, out: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """What follows attention: its projection, the MLP and the residuals."""
    mid, _ = attention_out(block, arch, out, h)
    gate, up = project(block.linears["gate_up"], rms_apply(mid, rms_scale(mid, arch.eps), block.post_norm)).chunk(2, dim=1)
    inner = arch.activation.forward(gate).mul_(up)
    if block.mlp_norm is None:
        return project_onto(mid, block.linears["down"], inner)
    raw = project(block.linears["down"], inner).to(mid.dtype)
    return rms_apply(raw, rms_scale(raw, arch.eps), block.mlp_norm).add_(mid)


def _query_key_value(decoder: Decoder, block: Block, h: torch.Tensor, rotary: Rotary) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    arch = decoder.arch
    x = rms_apply(h, rms_scale(h, arch.eps), block.input_norm)
    q = project(block.linears["q"], x).to(h.dtype).view(-1, arch.heads, arch.head_dim)
    k, v = project(block.linears["kv"], x).to(h.dtype).view(len(h), 2, arch.kv_heads, arch.head_dim).unbind(1)
    if block.q_norm is not None and block.k_norm is not None:
        q = rms_apply(q, rms_scale(q, arch.eps), block.q_norm)
        k = rms_apply(k, rms_scale(k, arch.eps), block.k_norm)
    return rotate(q, *rotary), rotate(k, *rotary), v
