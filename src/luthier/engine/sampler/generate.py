"""Generation on the fast engine: prompts prefilled as a prefix tree, then decoded together.

One decision: tokens that all prompts share are computed once for the whole list and never copied; a prompt
that has ended leaves the batch as soon as a quarter of the batch has.
"""

from __future__ import annotations

import numpy as np
import torch

from luthier.core.errors import UserError
from luthier.engine.contract import Completion, Progress, Sampling
from luthier.engine.fast.block import KeyValue
from luthier.engine.fast.decoder import Decoder, Keep
from luthier.engine.fast.step import Cache, decode_step
from luthier.engine.sampler.choose import choose
from luthier.engine.trees.pack import build_full_pack
from luthier.engine.trees.planner import shared_length

_WORTH_SHARING = 16
"""Shortest shared prefix that is cached apart."""
_CACHE_PER_BUDGET = 4
"""Tokens cached at once, in units of the micro-batch budget (a cached token is far smaller than a trained one)."""


@torch.no_grad()
def generate(decoder: Decoder, prompts: list[np.ndarray], sampling: Sampling, budget: int, progress: Progress | None) -> list[Completion]:
    """Continue each prompt (int32 [N], N >= 1). Raises UserError for an empty prompt or one that leaves no room."""
    for i, prompt in enumerate(prompts):
        if not 0 < len(prompt) < decoder.arch.longest:
            raise UserError(f"a prompt must have 1 to {decoder.arch.longest - 1} tokens", len(prompt), f"prompt {i}")
    skip = shared_length(prompts)
    skip = skip if skip >= _WORTH_SHARING else 0
    prefix = _prefill_shared(decoder, prompts[0][:skip]) if skip else None
    out: list[Completion] = []
    for group in _groups([len(p) - skip + sampling.max_new_tokens for p in prompts], _CACHE_PER_BUDGET * budget):
        cache, logits = _prefill(decoder, prompts, group, prefix, skip, sampling.max_new_tokens)
        out.extend(_Decoding(decoder, sampling, group, [len(prompts[i]) for i in group]).run(cache, logits))
        if progress:
            progress(len(out), len(prompts))
    return out


def _groups(needs: list[int], budget: int) -> list[range]:
    """Consecutive prompts whose padded caches fit `budget` tokens."""
    groups, start, widest = [], 0, 0
    for i, need in enumerate(needs):
        widest = max(widest, need)
        if i > start and (i + 1 - start) * widest > budget:
            groups.append(range(start, i))
            start, widest = i, need
    return [*groups, range(start, len(needs))] if needs else []


def _prefill_shared(decoder: Decoder, tokens: np.ndarray) -> list[KeyValue]:
    pack = build_full_pack([tokens], [0])
    return decoder.forward(pack, np.array([len(tokens) - 1]), Keep(keys_values=True)).keys_values


def _prefill(
    decoder: Decoder, prompts: list[np.ndarray], group: range, prefix: list[KeyValue] | None, skip: int, room: int
) -> tuple[Cache, torch.Tensor]:
    """Caches of the prompts of a group, and the logits after each, [n, vocabulary]."""
    pack = build_full_pack(prompts, group, skip)
    needed, row = np.unique(pack.ends, return_inverse=True)
    run = decoder.forward(pack, needed, Keep(keys_values=True), prefix)
    lengths = [len(prompts[i]) - skip for i in group]
    rows = [torch.from_numpy(pack.rows_of(j, np.arange(skip, skip + n))) for j, n in enumerate(lengths)]
    own = []
    for k, v in run.keys_values:
        keys, values = (k.new_zeros(len(group), max(lengths) + room, *k.shape[1:]) for _ in range(2))
        for j, (n, at) in enumerate(zip(lengths, rows, strict=True)):
            keys[j, :n], values[j, :n] = k[at], v[at]
        own.append((keys, values))
    logits = run.hidden[torch.from_numpy(row)] @ decoder.weights.head.t()
    return Cache(prefix, own, torch.tensor(lengths), skip), logits


class _Decoding:
    """The loop over new tokens for one group of prompts."""

    def __init__(self, decoder: Decoder, sampling: Sampling, group: range, lengths: list[int]) -> None:
        self._decoder, self._sampling = decoder, sampling
        self._generators = [np.random.Generator(np.random.PCG64([sampling.seed, i])) for i in group]
        self._limit = [min(sampling.max_new_tokens, decoder.arch.longest - n) for n in lengths]
        self._tokens: list[list[int]] = [[] for _ in group]
        self._finish = ["length"] * len(self._tokens)

    def run(self, cache: Cache, logits: torch.Tensor) -> list[Completion]:
        active = [i for i, limit in enumerate(self._limit) if limit > 0]
        in_batch = list(range(len(self._tokens)))
        while active:
            chosen = choose(logits, self._sampling, [self._generators[i] for i in in_batch])
            token_of = dict(zip(in_batch, chosen.tolist(), strict=True))
            active = [i for i in active if self._goes_on(i, token_of[i])]
            if len(active) <= 0.75 * len(in_batch):
                rows = torch.tensor([in_batch.index(i) for i in active], dtype=torch.int64)
                cache, chosen, in_batch = cache.select(rows), chosen[rows], list(active)
            if active:
                logits = decode_step(self._decoder, cache, chosen)
        return [Completion(tuple(t), f) for t, f in zip(self._tokens, self._finish, strict=True)]

    def _goes_on(self, i: int, token: int) -> bool:
        if token in self._sampling.stop_ids:
            self._finish[i] = "stop"
            return False
        self._tokens[i].append(token)
        return len(self._tokens[i]) < self._limit[i]
