"""Generation on the fast engine: a batch of slots that is refilled while it decodes.

One decision: a sequence that ends gives its slot to the next one (prefilled in groups as prefix trees), tokens that
all prompts share are computed once for the whole list, and when the caches outgrow their budget the sequence that lost
least is put back in the queue; none of this changes what a sequence says beyond rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch

from luthier.engine.contract import Completion, Progress, Sampling
from luthier.engine.fast.block import KeyValue
from luthier.engine.fast.decoder import Decoder, Keep
from luthier.engine.fast.step import SlotCache, decode_step
from luthier.engine.memory.machine import available_bytes
from luthier.engine.memory.model import packs
from luthier.engine.sampler.choose import choose, penalise
from luthier.engine.sampler.job import Job, Window, checked, make_jobs, mask_logits, note_logprobs
from luthier.engine.sampler.stops import IncrementalStops
from luthier.engine.text.tokenizer import TextTokenizer
from luthier.engine.trees.merge import common_length
from luthier.engine.trees.pack import build_full_pack
from luthier.engine.trees.planner import shared_length

_WORTH_SHARING = 16
"""Shortest shared prefix that is cached apart."""
_CACHE_PER_BUDGET = 4
"""Tokens cached at once, in units of the micro-batch budget (a cached token is far smaller than a trained one)."""
_MOST_SLOTS = 64
"""Sequences decoded together: past this a step's products gain little and its caches cost more."""
_REFILL = 8
"""A refill waits until one slot in this many is free, so that prompts are prefilled in groups."""
_GROWTH = 64
"""Tokens by which the slots' capacity grows."""


@torch.no_grad()
def generate(
    decoder: Decoder,
    prompts: list[np.ndarray],
    sampling: Sampling,
    budget: int,
    progress: Progress | None,
    tokenizer: TextTokenizer | None = None,
) -> list[Completion]:
    """See `Engine.sample`. budget: unique tokens computed at once."""
    jobs = make_jobs(prompts, sampling, Window(decoder.arch.vocabulary, decoder.arch.longest), tokenizer, IncrementalStops)
    skip = shared_length(prompts) if len(prompts) > 1 else 0
    skip = skip if skip >= _WORTH_SHARING else 0
    prefix = _prefill_shared(decoder, prompts[0][:skip]) if skip else None
    batch = _Batch(decoder, sampling, budget, SlotCache(decoder.arch, decoder.dtype, prefix, skip))
    with decoder.weights.all_at_hand(min(len(jobs), _MOST_SLOTS) if _worth_packing(decoder, jobs) else None):
        batch.run(_in_order(jobs, skip), len(prompts), progress)
    return [job.completion() for job in jobs]


def _worth_packing(decoder: Decoder, jobs: Sequence[Job]) -> bool:
    """Whether the steps repay a copy of the weights that is laid out for them, and the memory has room for it twice."""
    return packs(len(jobs), sum(job.limit for job in jobs)) and available_bytes() > 2 * decoder.weights.num_bytes()


def _in_order(jobs: Sequence[Job], skip: int) -> list[Job]:
    """Long prompts first (they set the capacity), by powers of two; inside a class by tokens, so that prefixes meet."""
    return sorted(jobs, key=lambda job: (-(len(job.prompt) - skip).bit_length(), np.ascontiguousarray(job.prompt, dtype=">u4").tobytes()))


def _prefill_shared(decoder: Decoder, tokens: np.ndarray) -> list[KeyValue]:
    pack = build_full_pack([tokens], [0])
    return decoder.forward(pack, np.array([len(tokens) - 1]), Keep(keys_values=True)).keys_values


class _Batch:
    """The sequences under way: `_jobs[i]` is in slot i of the cache."""

    def __init__(self, decoder: Decoder, sampling: Sampling, budget: int, cache: SlotCache) -> None:
        self._decoder, self._sampling, self._budget, self._cache = decoder, sampling, budget, cache
        self._room = _CACHE_PER_BUDGET * budget  # tokens in all slots together
        self._jobs: list[Job] = []
        self._queue: deque[Job] = deque()

    def run(self, jobs: list[Job], num_prompts: int, progress: Progress | None) -> None:
        """Work until every job has ended. progress counts prompts: (completions done, in prompts' worth)."""
        self._queue.extend(jobs)
        told = 0
        chosen = torch.zeros(0, dtype=torch.int64)
        while self._queue or self._jobs:
            chosen = torch.cat([chosen, *self._refill()])
            if self._jobs:
                chosen = self._fit(chosen)
                chosen = self._take(decode_step(self._decoder, self._cache, chosen), range(len(self._jobs)))
            done = num_prompts * (len(jobs) - len(self._jobs) - len(self._queue)) // len(jobs)
            if progress and done > told:
                told = done
                progress(done, num_prompts)

    def _take(self, logits: torch.Tensor, slots: range) -> torch.Tensor:
        """Choose each slot's next token; sequences that end leave. Returns the tokens of those that stay, in slot order."""
        jobs = [self._jobs[i] for i in slots]
        chosen = next_tokens(logits, self._sampling, jobs)
        tokens = chosen.tolist()
        for i, job, token in reversed(list(zip(slots, jobs, list(tokens), strict=True))):
            if not job.take(token):
                self._remove(i)
                if i - slots.start != len(tokens) - 1:
                    tokens[i - slots.start] = tokens[-1]
                tokens.pop()
        return torch.tensor(tokens, dtype=torch.int64)

    def _remove(self, slot: int) -> None:
        self._cache.remove(slot)
        self._jobs[slot] = self._jobs[-1]
        self._jobs.pop()

    def _refill(self) -> list[torch.Tensor]:
        """Prefill queued sequences when enough slots are free; returns the first tokens of those that go on."""
        most = max(1, min(_MOST_SLOTS, self._room // _capacity(self._cache.widest)))
        if self._jobs and most - len(self._jobs) < max(1, min(most // _REFILL, len(self._queue))):
            return []
        out = []
        while self._queue and (group := self._next_group()):
            out.append(self._prefill(group))
        return out

    def _next_group(self) -> list[Job]:
        """Take from the queue what fits the slots, the caches' budget and one prefill; at least one when nothing is under way."""
        group: list[Job] = []
        widest, tokens = self._cache.widest, 0
        before = np.zeros(0, dtype=np.int32)
        while self._queue:
            sequence = self._queue[0].sequence
            own = len(sequence) - self._cache.skip
            tokens += min(own, len(sequence) - common_length(before, sequence))
            num, widest = len(self._jobs) + len(group) + 1, max(widest, own)
            full = num > _MOST_SLOTS or num * _capacity(widest) > self._room
            if num > 1 and (full or (group and tokens > self._budget)):
                break
            group.append(self._queue.popleft())
            before = sequence
        return group

    def _prefill(self, group: list[Job]) -> torch.Tensor:
        cache, first = self._cache, len(self._jobs)
        sequences = [job.sequence for job in group]
        self._ensure(first + len(group), max(cache.widest, max(len(s) for s in sequences) - cache.skip))
        pack = build_full_pack(sequences, range(len(group)), cache.skip)
        needed, row = np.unique(pack.ends, return_inverse=True)
        run = self._decoder.forward(pack, needed, Keep(keys_values=True), cache.prefix)
        cache.add(run.keys_values, [torch.from_numpy(pack.rows_of(j, np.arange(cache.skip, len(s)))) for j, s in enumerate(sequences)])
        self._jobs.extend(group)
        logits = self._decoder.weights.head.logits(run.hidden[torch.from_numpy(row)])
        return self._take(logits, range(first, first + len(group)))

    def _ensure(self, slots: int, widest: int) -> None:
        """Room for `slots` sequences and one more token than the widest; the budget is the caller's business."""
        cache = self._cache
        if slots <= cache.slots and widest < cache.capacity:
            return
        capacity = _capacity(widest)
        fitting = max(slots, min(_MOST_SLOTS, self._room // capacity, slots + len(self._queue)))
        cache.resize(fitting, capacity)

    def _fit(self, chosen: torch.Tensor) -> torch.Tensor:
        """Before a step: grow the capacity where it is used up, and put sequences back in the queue where that is too much."""
        widest = self._cache.widest
        if widest < self._cache.capacity:
            return chosen
        tokens = chosen.tolist()
        while len(self._jobs) > 1 and len(self._jobs) * _capacity(widest) > self._room:
            slot = min(range(len(self._jobs)), key=lambda i: len(self._jobs[i].tokens))
            self._queue.appendleft(self._jobs[slot])
            self._remove(slot)
            tokens[slot] = tokens[-1]
            tokens.pop()
            widest = self._cache.widest
        self._ensure(len(self._jobs), widest)
        return torch.tensor(tokens, dtype=torch.int64)


def _capacity(widest: int) -> int:
    """Tokens a slot holds when its longest sequence has `widest`: at least one more, in whole blocks."""
    return (widest // _GROWTH + 1) * _GROWTH


def next_tokens(logits: torch.Tensor, sampling: Sampling, jobs: Sequence[Job]) -> torch.Tensor:
    """The next token of each job, int64 [n], from the logits [n, vocabulary] after its sequence. Writes over the logits."""
    raw = logits.clone() if sampling.logprobs is not None else logits
    if sampling.repetition_penalty != 1.0:
        penalise(logits, [job.seen for job in jobs], sampling.repetition_penalty)
    chosen = checked(logits, choose(mask_logits(logits, jobs), sampling, [job.uniform() for job in jobs]))
    if sampling.logprobs is not None:
        note_logprobs(raw, chosen, jobs, sampling.logprobs)
    return chosen
