"""The fast engine: the six verbs over prefix-tree packs and the hand-written decoder.

One decision: a verb plans over everything it is handed, and sharing, packing and micro-batches never change
a result beyond rounding; they are bounded by `micro_batch_tokens` unique tokens at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from luthier.engine.adapted import Adapted
from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import (
    NO_NOISE,
    Batch,
    Completion,
    Keeping,
    Loss,
    NoiseRates,
    NonFiniteLoss,
    Progress,
    Sampling,
    StepOutput,
    TargetScores,
    TokenSequence,
)
from luthier.engine.fast.decoder import Decoder, Keep, Run
from luthier.engine.fast.lower import LowerRows, why_not
from luthier.engine.fast.scoring import TreeScorer
from luthier.engine.kernels.head import head_backward, head_forward
from luthier.engine.memory.flops import pair_cost
from luthier.engine.memory.forecast import Forecast, forecast
from luthier.engine.memory.model import rows_of
from luthier.engine.memory.room import Room
from luthier.engine.objective import check_finite, check_needs, differentiate, finite, linear_coefficients
from luthier.engine.optim.config import OptimizerConfig
from luthier.engine.sampler.generate import generate
from luthier.engine.text.tokenizer import TextTokenizer
from luthier.engine.trees.merge import merge, separate
from luthier.engine.trees.micro_batches import micro_batches
from luthier.engine.trees.pack import Pack, build_full_pack
from luthier.engine.trees.planner import PLANNING, check_sequences, plan

_SPREAD = 16
"""Steps that a run's unique tokens are counted from."""


@dataclass(slots=True)
class _Scored:
    """A forward pass and its targets: `rows` of the pack that predict, `row` into them per target, ascending after `order`."""

    run: Run
    row: torch.Tensor
    token: torch.Tensor
    order: np.ndarray


class FastEngine(Adapted):
    """See `engine.contract.Engine`. Built by `engine.select.load_engine`."""

    name = "fast"

    def __init__(self, decoder: Decoder, adapters: AdapterSet, room: Room) -> None:
        super().__init__(adapters, room.micro_batch_tokens)
        self._decoder, self._room, self._budget = decoder, room, room.micro_batch_tokens
        self._pair_cost, self.longest = pair_cost(decoder.arch), decoder.arch.longest
        self._lower: LowerRows | None = None

    # training -----------------------------------------------------------------------------------------------

    def weights_moved(self) -> None:
        self._decoder.weights.moved()

    @torch.no_grad()
    def forward_backward(self, batch: Batch, loss: Loss) -> StepOutput:
        check_needs(loss)
        self._check(batch.sequences)
        with torch.profiler.record_function(PLANNING):
            packs = micro_batches(batch, self._budget, self._decoder.arch.hidden, self._pair_cost)
        self._adapters.ensure_gradients()
        coefficients = None if loss.linear else self._coefficients(packs, batch, loss)
        total = 0.0 if coefficients is None else coefficients[0]
        for pack in packs:
            if len(pack.targets.row) == 0:
                continue
            if coefficients is None:
                total += self._accumulate(pack, *linear_coefficients(loss, pack.targets.weight, batch.normaliser))
            else:
                self._accumulate(pack, coefficients[1][id(pack)])
        return StepOutput(
            total, sum(len(p.targets.row) for p in packs), sum(p.num_rows for p in packs), sum(p.as_if_separate for p in packs)
        )

    def _accumulate(self, pack: Pack, coefficient: torch.Tensor, of_mean: torch.Tensor | None = None) -> float:
        """Forward and backward of one pack; returns sum(coefficient * -logprob) + sum(of_mean * -mean_logprob)."""
        room = self._room.under(None if pack.noise is None else pack.noise.rates)
        again = room.recomputed_layers(rows_of(pack.nodes, np.unique(pack.targets.row)))
        self.recomputed_layers = max(self.recomputed_layers, again)
        scored = self._score(pack, Keep(backward=True, recompute=again), None if self._lower is None else self._lower.of_pack(pack))
        order, dtype = torch.from_numpy(scored.order), self._decoder.dtype
        c, m = coefficient[order], None if of_mean is None else of_mean[order]
        weights = c.to(dtype), None if m is None else m.to(dtype)
        logprobs, means, d_hidden = head_backward(scored.run.hidden, self._decoder.weights.head, scored.row, scored.token, *weights)
        value = -(logprobs.double() * c).sum()
        if means is not None and m is not None:
            value -= (means.double() * m).sum()
        try:
            check_finite(value, logprobs, pack.targets.sequence[scored.order])
        except NonFiniteLoss:
            self._adapters.clear_gradients()
            raise
        self._decoder.backward(scored.run, d_hidden)
        return float(value)

    def _coefficients(self, packs: list[Pack], batch: Batch, loss: Loss) -> tuple[float, dict[int, torch.Tensor]]:
        """For a loss that is not linear: all log-probabilities first, then its value and each pack's coefficients."""
        logprobs = [self._logprobs(pack) for pack in packs]
        sequence = np.concatenate([p.targets.sequence for p in packs])
        weight = np.concatenate([p.targets.weight for p in packs])
        order = np.argsort(sequence, kind="stable")
        together = torch.cat(logprobs)[torch.from_numpy(order)]
        value, gradient = differentiate(loss, together, weight[order], sequence[order], batch.normaliser)
        back = torch.empty_like(gradient)
        back[torch.from_numpy(order)] = gradient
        pieces = back.split([len(p.targets.row) for p in packs])
        return value, {id(pack): piece for pack, piece in zip(packs, pieces, strict=True)}

    def use_optimiser(self, config: OptimizerConfig, ema: float | None = None) -> None:
        super().use_optimiser(config, ema)
        self._room = self._room.averaging(ema is not None)

    def forecast(self, sequences: Sequence[TokenSequence], steps: Sequence[np.ndarray], noise: NoiseRates = NO_NOISE) -> Forecast | None:
        return forecast(self._room, sequences, steps, noise)

    def keep_activations(self, keeping: Keeping, sequences: Sequence[TokenSequence], steps: Sequence[np.ndarray]) -> str:
        frozen = self._decoder.lowest_trainable
        if frozen in (0, self._decoder.arch.layers):
            return ""
        refusal = why_not(self._decoder, keeping, sequences, self._unique_tokens(sequences, steps, keeping.noise.shares_prefixes))
        if refusal:
            return f"what the {frozen} frozen layers below give is not kept between epochs: {refusal}"
        self._lower = LowerRows(self._decoder, keeping.folder, keeping.weights)
        allowed = f"{keeping.limit_bytes / 2**30:g} GB"
        return f"what the {frozen} frozen layers below give is kept on disk between epochs (at most {allowed}, execution.cache_gb)"

    def _unique_tokens(self, sequences: Sequence[TokenSequence], steps: Sequence[np.ndarray], shared: bool) -> int:
        """Tokens that a run of those steps computes once each, from some of its steps."""
        picked = sorted(set(np.linspace(0, len(steps) - 1, min(len(steps), _SPREAD)).astype(int).tolist()))
        groups = [[sequences[i].tokens for i in steps[step]] for step in picked]
        unique = sum((merge(tokens) if shared else separate(tokens)).num_tokens for tokens in groups)
        return unique * len(steps) // len(picked)

    # reading ------------------------------------------------------------------------------------------------

    def logprobs(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[np.ndarray]:
        return [s.logprobs for s in self._scores(sequences, progress, greedy=False)]

    def score(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[TargetScores]:
        return self._scores(sequences, progress, greedy=True)

    @torch.no_grad()
    def _scores(self, sequences: list[TokenSequence], progress: Progress | None, *, greedy: bool) -> list[TargetScores]:
        self._check(sequences)
        return finite(TreeScorer(self._decoder, sequences, self._budget, greedy=greedy).run(progress))

    @torch.no_grad()
    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        self._check(sequences)
        out = np.zeros((len(sequences), self._decoder.arch.hidden), dtype=np.float32)
        for group in plan([s.tokens for s in sequences], self._budget):
            pack = build_full_pack([s.tokens for s in sequences], group)
            needed, row = np.unique(pack.ends, return_inverse=True)
            out[group] = self._decoder.forward(pack, needed, Keep()).hidden.float().numpy()[row]
        return out

    def sample(
        self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None, tokenizer: TextTokenizer | None = None
    ) -> list[Completion]:
        return generate(self._decoder, prompts, sampling, self._budget, progress, tokenizer)

    def _logprobs(self, pack: Pack) -> torch.Tensor:
        """[M] in the order of the pack's targets."""
        if len(pack.targets.row) == 0:
            return torch.zeros(0, dtype=self._decoder.dtype)
        scored = self._score(pack, Keep())
        out = torch.empty(len(scored.row), dtype=self._decoder.dtype)
        out[torch.from_numpy(scored.order)] = head_forward(scored.run.hidden, self._decoder.weights.head, scored.row, scored.token)
        return out

    def _score(self, pack: Pack, keep: Keep, entry: torch.Tensor | None = None) -> _Scored:
        needed, row = np.unique(pack.targets.row, return_inverse=True)
        order = np.argsort(row, kind="stable")
        run = self._decoder.forward(pack, needed, keep, entry=entry)
        return _Scored(run, torch.from_numpy(row[order]), torch.from_numpy(pack.targets.token[order]), order)

    def _check(self, sequences: Sequence[TokenSequence]) -> None:
        check_sequences(sequences, self._decoder.arch.vocabulary, self._decoder.arch.longest)
