"""One decoding step: one new token for each of several sequences, over cached keys and values.

One decision: tokens shared by all sequences are cached once and read as one rectangle; each sequence's own
tokens lie in a padded cache of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from luthier.engine.fast.block import KeyValue, project
from luthier.engine.fast.decoder import Decoder
from luthier.engine.fast.weights import Block
from luthier.engine.kernels.attention import attend_cached
from luthier.engine.kernels.norm import rms_apply, rms_scale, rotate


@dataclass(slots=True)
class Cache:
    """prefix: per layer, keys and values [P, kv_heads, head_dim] that all sequences share, or None.

    own: per layer, keys and values [n, capacity, kv_heads, head_dim]; length: int64 [n], own tokens cached.
    skip: P.
    """

    prefix: list[KeyValue] | None
    own: list[KeyValue]
    length: torch.Tensor
    skip: int

    def select(self, rows: torch.Tensor) -> Cache:
        """The cache of some of the sequences."""
        return Cache(self.prefix, [(k[rows], v[rows]) for k, v in self.own], self.length[rows], self.skip)


def decode_step(decoder: Decoder, cache: Cache, tokens: torch.Tensor) -> torch.Tensor:
    """Append one token per sequence (int64 [n]) to the cache; returns the logits after it, [n, vocabulary]."""
    arch, weights = decoder.arch, decoder.weights
    positions = cache.length + cache.skip
    cos, sin = decoder.rotary(positions)
    h = weights.embed[tokens]
    widest = int(cache.length.max()) + 1
    hidden = torch.arange(widest)[None] > cache.length[:, None]
    mask = torch.zeros(hidden.shape, dtype=h.dtype).masked_fill_(hidden, float("-inf"))[:, None, None]
    each = torch.arange(len(tokens))
    for i, block in enumerate(weights.blocks):
        q, k, v = _query_key_value(decoder, block, h, cos, sin)
        keys, values = cache.own[i]
        keys[each, cache.length] = k
        values[each, cache.length] = v
        own = (keys[:, :widest], values[:, :widest])
        out = attend_cached(q, own, mask, cache.prefix[i] if cache.prefix else None)
        h = torch.addmm(h, out.reshape(len(tokens), -1), block.linears["o"].weight.t())
        gate, up = project(block.linears["gate_up"], rms_apply(h, rms_scale(h, arch.eps), block.post_norm)).chunk(2, dim=1)
        h = torch.addmm(h, F.silu(gate).mul_(up), block.linears["down"].weight.t())
    cache.length += 1
    return rms_apply(h, rms_scale(h, arch.eps), weights.norm) @ weights.head.t()


def _query_key_value(
    decoder: Decoder, block: Block, h: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    arch = decoder.arch
    x = rms_apply(h, rms_scale(h, arch.eps), block.input_norm)
    q = project(block.linears["q"], x).view(-1, arch.heads, arch.head_dim)
    k, v = project(block.linears["kv"], x).view(len(h), 2, arch.kv_heads, arch.head_dim).unbind(1)
    if block.q_norm is not None and block.k_norm is not None:
        q = rms_apply(q, rms_scale(q, arch.eps), block.q_norm)
        k = rms_apply(k, rms_scale(k, arch.eps), block.k_norm)
    return rotate(q, cos, sin), rotate(k, cos, sin), v
