"""What a run will take, from its rows and before it starts: work, peak memory, layers computed again.

One decision: the heaviest steps of the run are packed exactly as training will pack them; the rest is counted from
steps spread evenly over the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.engine.contract import NO_NOISE, NoiseRates, TokenSequence
from luthier.engine.memory.dimensions import window_of
from luthier.engine.memory.flops import Counts, count, counted_flops, pair_cost
from luthier.engine.memory.model import Parts, Rows, largest, rows_of
from luthier.engine.memory.room import Room
from luthier.engine.trees.merge import GATE_TOKENS
from luthier.engine.trees.pack import Pack, build_pack
from luthier.engine.trees.planner import plan

_HEAVIEST, _SPREAD = 12, 48
"""Steps that are packed: those of most tokens and of the longest row, and some over the whole run."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """flops: unavoidable ones of the whole run. peak: of its worst step. share: unique over all tokens."""

    steps: int
    flops: float
    peak: Parts
    recomputed_layers: int
    micro_batch_tokens: int
    share: float


def forecast(room: Room, sequences: Sequence[TokenSequence], steps: Sequence[np.ndarray], noise: NoiseRates = NO_NOISE) -> Forecast:
    """Look over a run before it starts. steps: for each optimiser step, its positions in `sequences`.

    noise: of its steps; no prefix is computed once for several sequences unless that shares masks. Raises UserError when a step
    fits the memory in no way.
    """
    room, shared = room.under(noise), noise.shares_prefixes
    lengths = np.array([len(s.tokens) for s in sequences])
    longest, total = (np.array([pick(lengths[rows]) for rows in steps]) for pick in (np.max, np.sum))
    heavy = {*np.argsort(-total)[:_HEAVIEST].tolist(), *np.argsort(-longest)[:_HEAVIEST].tolist()}
    spread = sorted(set(np.linspace(0, len(steps) - 1, min(len(steps), _SPREAD)).astype(int).tolist()))
    packs = {step: _packs(room, [sequences[i] for i in steps[step]], shared) for step in sorted(heavy | set(spread))}
    worst = largest(room.model, [_rows(pack) for step in packs for pack in packs[step]])
    again = room.recomputed_layers(worst)
    counted = sum((count(pack, window_of(room.model.sizes)) for step in spread for pack in packs[step]), Counts())
    flops = counted_flops(room.model.sizes, counted, room.model.trains) * float(total.sum()) / float(total[spread].sum())
    share = counted.rows / float(total[spread].sum())
    return Forecast(len(steps), flops, room.model.training(worst, again), again, room.micro_batch_tokens, share)


def _packs(room: Room, chosen: list[TokenSequence], shared: bool) -> list[Pack]:
    groups = plan([s.tokens for s in chosen], room.micro_batch_tokens, pair_cost(room.model.sizes), shared)
    return [build_pack(chosen, group, gate=GATE_TOKENS if shared else None) for group in groups]


def _rows(pack: Pack) -> Rows:
    return rows_of(pack.nodes, np.unique(pack.targets.row))
