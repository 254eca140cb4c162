"""The generic engine: the six verbs over prefix-tree packs and any transformers decoder that can be packed.

One decision: the model's modules, with the method on them, are transformers' and PEFT's own, and torch's autograd does all
gradients; only packing, attention between branches and the output layer are ours, and none changes a result beyond rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from luthier.engine.adapted import Adapted
from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import Batch, Completion, Loss, NonFiniteLoss, Progress, Sampling, StepOutput, TargetScores, TokenSequence
from luthier.engine.generic.head import Wanted, gradient, scores
from luthier.engine.generic.packed import PackedModel
from luthier.engine.generic.sample import generate
from luthier.engine.objective import check_finite, check_needs, differentiate, finite, linear_coefficients
from luthier.engine.reference.noise import ModelNoise
from luthier.engine.sampler.job import Window
from luthier.engine.text.tokenizer import TextTokenizer
from luthier.engine.trees.micro_batches import micro_batches
from luthier.engine.trees.pack import Pack, build_full_pack, build_pack
from luthier.engine.trees.planner import PLANNING, check_sequences, plan


@dataclass(frozen=True, slots=True)
class Limits:
    """longest: tokens of a sequence; budget: unique tokens computed at once."""

    vocabulary: int
    longest: int
    budget: int


class GenericEngine(Adapted):
    """See `engine.contract.Engine`. Built by `engine.select.load_engine`."""

    name = "generic"

    def __init__(self, packed: PackedModel, adapters: AdapterSet, limits: Limits) -> None:
        super().__init__(adapters, limits.budget)
        self._packed, self._limits, self.longest = packed, limits, limits.longest
        self._noise: ModelNoise | None = None

    # training -----------------------------------------------------------------------------------------------

    def forward_backward(self, batch: Batch, loss: Loss) -> StepOutput:
        check_needs(loss)
        self._check(batch.sequences)
        packs = self._packs(batch)
        self._adapters.ensure_gradients()
        try:
            total = self._linear(packs, batch, loss) if loss.linear else self._together(packs, batch, loss)
        except NonFiniteLoss:
            self._adapters.clear_gradients()
            raise
        num_targets = sum(len(p.targets.row) for p in packs)
        return StepOutput(total, num_targets, sum(p.num_rows for p in packs), sum(p.as_if_separate for p in packs))

    def _packs(self, batch: Batch) -> list[Pack]:
        """The micro-batches of a step; hooks for their noise are put on the model the first time."""
        if batch.noise is not None and self._noise is None:
            self._noise = ModelNoise(self._packed.model, batch.noise.rates)
        with torch.profiler.record_function(PLANNING):
            return micro_batches(batch, self._limits.budget, self._packed.model.get_input_embeddings().embedding_dim)

    def _hidden(self, pack: Pack) -> torch.Tensor:
        """Rows after the final norm, [T, hidden], with the noise of the pack."""
        with nullcontext() if self._noise is None else self._noise.on(pack.noise):
            return self._packed.hidden(pack)

    def _linear(self, packs: list[Pack], batch: Batch, loss: Loss) -> float:
        weights = [linear_coefficients(loss, pack.targets.weight, batch.normaliser) for pack in packs]
        return sum(self._accumulate(pack, *weight) for pack, weight in zip(packs, weights, strict=True) if len(pack.targets.row))

    def _together(self, packs: list[Pack], batch: Batch, loss: Loss) -> float:
        """For a loss that is not linear: all log-probabilities first, then its value, then each pack again with its coefficients."""
        targets = [p.targets for p in packs]
        sequence, weight = (np.concatenate([getattr(t, name) for t in targets]) for name in ("sequence", "weight"))
        order = np.argsort(sequence, kind="stable")
        together = torch.cat([self._scored(pack)[0] for pack in packs])[torch.from_numpy(order)]
        value, slope = differentiate(loss, together, weight[order], sequence[order], batch.normaliser)
        back = torch.empty_like(slope)
        back[torch.from_numpy(order)] = slope
        for pack, piece in zip(packs, back.split([len(t.row) for t in targets]), strict=True):
            if len(pack.targets.row):
                self._accumulate(pack, piece)
        return value

    def _accumulate(self, pack: Pack, coefficient: torch.Tensor, of_mean: torch.Tensor | None = None) -> float:
        """Forward and backward of one pack; returns sum(coefficient * -logprob) + sum(of_mean * -mean_logprob)."""
        needed, wanted, order = self._wanted(pack)
        with torch.enable_grad():
            hidden = self._hidden(pack)[needed]
        c, m = coefficient[order], None if of_mean is None else of_mean[order]
        low = None if m is None else m.to(hidden.dtype)
        logprobs, means, d_hidden = gradient(self._packed.logits, hidden, wanted, c.to(hidden.dtype), low)
        value = -(logprobs.double() * c).sum()
        if means is not None and m is not None:
            value -= (means.double() * m).sum()
        check_finite(value, logprobs, pack.targets.sequence[order.numpy()])
        if hidden.requires_grad:  # not where the output layer alone is trained
            hidden.backward(d_hidden)
        return float(value)

    def _wanted(self, pack: Pack) -> tuple[torch.Tensor, Wanted, torch.Tensor]:
        """The pack rows that predict, ascending; the targets by those rows; and the order that sorts the pack's targets so."""
        needed, row = np.unique(pack.targets.row, return_inverse=True)
        order = np.argsort(row, kind="stable")
        wanted = Wanted(torch.from_numpy(row[order]), torch.from_numpy(pack.targets.token[order]), self._limits.vocabulary)
        return torch.from_numpy(needed), wanted, torch.from_numpy(order)

    # reading ------------------------------------------------------------------------------------------------

    def logprobs(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[np.ndarray]:
        return [s.logprobs for s in self.score(sequences, progress)]

    def score(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[TargetScores]:
        self._check(sequences)
        out = [TargetScores(np.zeros(0), np.zeros(0, dtype=bool))] * len(sequences)
        done = 0
        for group in plan([s.tokens for s in sequences], self._limits.budget) if sequences else []:
            pack = build_pack(sequences, group)
            values, top = (x.numpy() for x in self._scored(pack))
            for i in group:
                mine = pack.targets.sequence == i
                out[i] = TargetScores(values[mine].astype(np.float64), top[mine])
            done += len(group)
            if progress:
                progress(done, len(sequences))
        return finite(out)

    @torch.no_grad()
    def _scored(self, pack: Pack) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and greedy flags, [M] in the order of the pack's targets."""
        if not len(pack.targets.row):
            return torch.zeros(0, dtype=self._packed.dtype), torch.zeros(0, dtype=torch.bool)
        needed, wanted, order = self._wanted(pack)
        found = scores(self._packed.logits, self._hidden(pack)[needed], wanted)
        back = torch.argsort(order)
        return found[0][back], found[1][back]

    @torch.no_grad()
    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        self._check(sequences)
        rows: dict[int, np.ndarray] = {}
        for group in plan([s.tokens for s in sequences], self._limits.budget):
            pack = build_full_pack([s.tokens for s in sequences], group)
            found = self._packed.hidden(pack)[torch.from_numpy(pack.ends)].float().numpy()
            rows.update(zip(group, found, strict=True))
        return np.stack([rows[i] for i in range(len(sequences))])

    def sample(
        self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None, tokenizer: TextTokenizer | None = None
    ) -> list[Completion]:
        window = Window(self._limits.vocabulary, self._limits.longest)
        return generate(self._packed, prompts, sampling, (window, tokenizer, self._limits.budget), progress)

    def _check(self, sequences: Sequence[TokenSequence]) -> None:
        check_sequences(sequences, self._limits.vocabulary, self._limits.longest)
