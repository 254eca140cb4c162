"""The micro-batches of an optimiser step as packs, with their noise.

One decision: with noise, rows are shared only where it says that one mask is for all who share.
"""

from __future__ import annotations

from luthier.engine.contract import Batch
from luthier.engine.noise import token_noise
from luthier.engine.trees.pack import Pack, build_noisy_pack, build_pack
from luthier.engine.trees.planner import plan


def micro_batches(batch: Batch, budget_tokens: int, hidden: int, pair_cost: float = 0.0) -> list[Pack]:
    """Packs of at most `budget_tokens` unique tokens. hidden: width of the embeddings; pair_cost: see `planner.plan`."""
    tokens, noise = [s.tokens for s in batch.sequences], batch.noise
    shared = noise is None or noise.rates.shared_masks
    groups = plan(tokens, budget_tokens, pair_cost, shared)
    if noise is None:
        return [build_pack(batch.sequences, group) for group in groups]
    of_tokens = token_noise(noise, tokens, hidden)
    return [build_noisy_pack(batch.sequences, group, of_tokens, shared) for group in groups]
