"""Generation over a transformers model's own cache: batches padded on the left, as `generate` has them.

One decision: a batch is decoded to its end and answers that end leave it; batches are of prompts of like length, so little
is padding (of equal length below learned tokens, so that none stands between). What a sequence says does not depend on its
batch beyond rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from luthier.engine.contract import Completion, Progress, Sampling
from luthier.engine.generic.packed import PackedModel, exact_products
from luthier.engine.reference.engine import cache_of
from luthier.engine.sampler.generate import next_tokens
from luthier.engine.sampler.job import Job, Window, make_jobs
from luthier.engine.sampler.stops import IncrementalStops
from luthier.engine.text.tokenizer import TextTokenizer

_MOST = 32
"""Sequences decoded together."""


@torch.no_grad()
def generate(
    packed: PackedModel,
    prompts: list[np.ndarray],
    sampling: Sampling,
    given: tuple[Window, TextTokenizer | None, int],
    progress: Progress | None,
) -> list[Completion]:
    """See `Engine.sample`. given: the model's limits, the tokenizer, and how many prompt tokens are computed at once."""
    window, tokenizer, budget = given
    jobs = make_jobs(prompts, sampling, window, tokenizer, IncrementalStops)
    done = 0
    with exact_products(packed.dtype):
        for group in _groups(jobs, budget, padded=packed.root is None):
            _Rows(packed, group, sampling).run()
            done += len(group)
            if progress and (whole := len(prompts) * done // len(jobs)) > len(prompts) * (done - len(group)) // len(jobs):
                progress(whole, len(prompts))
    return [job.completion() for job in jobs]


def _groups(jobs: Sequence[Job], budget: int, padded: bool) -> Iterator[list[Job]]:
    """Longest prompts first; at most `budget` padded tokens and `_MOST` sequences, one sequence at least. padded: lengths may differ."""
    group: list[Job] = []
    for job in sorted(jobs, key=lambda job: -len(job.prompt)):
        other = bool(group) and not padded and len(job.prompt) != len(group[0].prompt)
        if group and (other or len(group) == _MOST or (len(group) + 1) * len(group[0].prompt) > budget):
            yield group
            group = []
        group.append(job)
    if group:
        yield group


@dataclass(slots=True)
class _Rows:
    """The sequences of one batch that still go on. mask: [n, tokens], 1 for real and learned tokens; ids: [n, tokens]."""

    packed: PackedModel
    jobs: list[Job]
    sampling: Sampling

    def run(self) -> None:
        longest = max(len(job.prompt) for job in self.jobs)
        ids, mask = torch.zeros(len(self.jobs), longest, dtype=torch.int64), torch.zeros(len(self.jobs), longest, dtype=torch.int64)
        for i, job in enumerate(self.jobs):
            ids[i, longest - len(job.prompt) :] = torch.from_numpy(job.prompt.astype(np.int64))
            mask[i, longest - len(job.prompt) :] = 1
        given, mask = _first(self.packed, ids, mask)
        width = next(iter(given.values())).shape[1]
        while self.jobs:
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
            out = self.packed.model(**given, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            chosen = next_tokens(out.logits[:, -1].clone(), self.sampling, self.jobs)
            stays = [i for i, (job, token) in enumerate(zip(self.jobs, chosen.tolist(), strict=True)) if job.take(token)]
            if len(stays) < len(self.jobs):
                self.jobs = [self.jobs[i] for i in stays]
                kept = torch.tensor(stays, dtype=torch.int64)
                mask, chosen = mask[kept], chosen[kept]
                if self.jobs:
                    cache.batch_select_indices(kept)
            given, width = {"input_ids": chosen[:, None], "past_key_values": cache}, 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)


def _first(packed: PackedModel, ids: torch.Tensor, mask: torch.Tensor) -> tuple[dict[str, Any], torch.Tensor]:
    """What the model takes for the prompts, the new rows first, and its mask: learned tokens stand before them."""
    root, num = packed.root, len(ids)
    if root is None:
        return {"input_ids": ids}, mask
    mask = torch.cat([mask.new_ones(num, root.num_tokens), mask], 1)
    learned = root.embeddings()
    if learned is not None:
        return {"inputs_embeds": torch.cat([learned.expand(num, -1, -1), packed.model.get_input_embeddings()(ids)], 1)}, mask
    return {"input_ids": ids, "past_key_values": cache_of(root, packed.model, num)}, mask
