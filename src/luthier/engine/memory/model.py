"""The peak memory of the fast engine on a CPU, predicted from sizes and lengths alone.

One decision: every term below is the bytes of a tensor that the engine's code allocates, at the moments when most of
them are alive; measured are the process before loading and three constants that are the same for every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from luthier.engine.contract import NO_NOISE, NoiseRates
from luthier.engine.kernels.chunks import SCORES, chunk_rows
from luthier.engine.memory.dimensions import GEMMA, PARTS, Dimensions, Trains, shape_of
from luthier.engine.noise import FACTOR_ROWS

ALLOCATOR = 1.06
"""Resident over requested bytes of a training step: glibc keeps some of what is freed. Measured on 2026-11-21."""
ALLOCATOR_FORWARD = 1.4
"""The same of a forward pass alone, whose buffers are freed and asked for again in every layer."""
FIRST_USE = 40 * 2**20
"""Bytes that the libraries take when they first multiply: kernels, packing buffers, thread stacks. Measured on 2026-11-21."""
LIBRARIES = 340 * 2**20
"""Resident bytes of interpreter and libraries before any weight, where they are not loaded yet (`luthier plan`). Measured on 2026-11-21."""

WORTH_PACKING = 512
"""Fewest tokens to come for which generation lays the weights out anew."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one pack. tokens: T, computed in every layer. queries: Tq, to the end in the last layer. needed: U, with a target."""

    tokens: int
    queries: int
    needed: int

    @classmethod
    def worst(cls, tokens: int) -> Rows:
        """A pack of which every row predicts."""
        return cls(tokens, tokens, tokens)


@dataclass(frozen=True, slots=True)
class Parts:
    """A prediction by term, in bytes."""

    process: int
    weights: int
    adapters: int
    activations: int

    @property
    def total(self) -> int:
        return self.process + self.weights + self.adapters + self.activations


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """sizes: of the model. trains: a method of the fast engine, or nothing. value: bytes of a computed value (4, or 8 in float64).

    product: bytes of a value of the matrices that are multiplied: `value`, or 2 when products are in bfloat16.
    process: resident bytes of interpreter and libraries before the weights are read (`machine.resident_bytes`).
    average: whether an average of the trained weights is kept. noise: of training.
    """

    sizes: Dimensions
    trains: Trains
    process: int
    value: int = 4
    product: int = 4
    average: bool = False
    noise: NoiseRates = NO_NOISE

    @classmethod
    def of(cls, sizes: Dimensions, trains: Trains, process: int, precision: str) -> MemoryModel:
        """precision: float32, float64, or bfloat16 (products alone)."""
        value, product = {"float32": (4, 4), "float64": (8, 8), "bfloat16": (4, 2)}[precision]
        return cls(sizes, trains, process, value, product)

    def weights(self) -> int:
        """Bytes of the weights while the engine lives, a scratch of one layer included.

        Linear layers are kept as stored (in bfloat16 where products are), embedding and head in the precision of the products.
        """
        s = self.sizes
        vocabulary = s.vocabulary * s.hidden * (1 if s.tied else 2)
        replaced = 0 if self.trains.own is None else self.trains.own.replaced
        at_rest = self.product if self.product < self.value else s.stored_bytes
        scratch = self._linears() // s.layers * self.product if self.merged else 0
        return (self._linears() - replaced) * at_rest + vocabulary * self.product + scratch

    @property
    def merged(self) -> bool:
        """Whether products read another weight than the one at rest."""
        if self.product < self.value:
            return False
        trained = bool(self.trains.modules) if self.trains.own is None else self.trains.own.merged
        return trained or self.sizes.stored_bytes != self.product

    def _linears(self) -> int:
        """Values of all linear layers."""
        return self.sizes.layers * sum(o * i for o, i in (shape_of(self.sizes, p) for p in PARTS))

    def adapters(self) -> int:
        """A and B of every adapted layer, their gradients and the two moments of AdamW: four values a parameter, five with an average."""
        return (5 if self.average else 4) * self.parameters() * self.value

    def parameters(self) -> int:
        """Trained values: r (i + o) a layer for LoRA."""
        if self.trains.own is not None:
            return self.trains.own.values
        io = sum(sum(shape_of(self.sizes, p)) for p in self.trains.modules)
        return self.sizes.layers * (self.trains.rank or 0) * io

    def training(self, rows: Rows, recompute: int = 0) -> Parts:
        """The peak of a step whose largest pack has `rows`, with the lowest `recompute` layers computed again."""
        return self._parts(self.step_values(rows, recompute), ALLOCATOR)

    def step_values(self, rows: Rows, recompute: int = 0) -> int:
        """Most values alive in forward and backward of one pack. With h hidden, q = heads x head_dim, k = kv_heads x head_dim, I:

        a layer keeps      T (2h + 2q + 3k + heads + 2I), q more with q/k norms; the last one T (h + 3k) + Tq (the rest);
                           (Gemma: 2h more a row, what its later norms are applied to)
        a recomputed layer T h; one below what is trained nothing;
        the head           U (3h) + one chunk of logits, three where they are capped;
        a backward pass    of a layer needs max(4I + 4h, 6h + 2q + 4k) a row beside what the layers up to it keep,
                           and four chunks of scores where scores are capped or a window cuts them;
        noise              see `_noisy`.
        """
        s, layers = self.sizes, self.sizes.layers
        kept = [self._layer(rows, i == layers - 1) for i in range(layers)]
        first, own = self.trains.first, self.trains.own
        saved = [0 if i < first else rows.tokens * s.hidden if i < first + recompute else kept[i] for i in range(layers)]
        logits = min(rows.needed, chunk_rows(s.vocabulary)) * s.vocabulary * (3 if s.family == "gemma2" else 1)
        peak = sum(saved) + 3 * rows.needed * s.hidden + max(logits, self._forward_scratch(rows.queries))
        peak = max(peak, self._embedding_noise(rows.tokens))
        below = sum(saved) + 2 * rows.needed * s.hidden
        formed = 0 if own is None else own.formed
        for i in range(layers - 1, first - 1, -1):
            below -= saved[i]
            width = rows.queries if i == layers - 1 else rows.tokens
            peak = max(peak, below + kept[i] + self._backward_scratch(width) + formed)
        angles = rows.tokens * s.head_dim * (2 if s.family == "gemma3_text" else 1)
        return peak + angles + self._scores(rows.tokens) + self._noisy(rows.tokens)

    def scoring(self, rows: Rows, cached: int = 0) -> Parts:
        """The peak of a forward pass alone: one layer at a time, two chunks of logits, and keys and values of `cached` tokens."""
        s = self.sizes
        kv = s.kv_heads * s.head_dim
        logits = 2 * min(rows.needed, chunk_rows(s.vocabulary)) * s.vocabulary
        layer = self._layer(rows, False) + self._forward_scratch(rows.tokens) + self._scores(rows.tokens + cached)
        return self._parts(max(layer, 2 * rows.needed * s.hidden + logits) + 3 * kv * cached * s.layers, ALLOCATOR_FORWARD)

    def generating(self, prompt: int, new: int, sequences: int) -> Parts:
        """The peak of generating `new` tokens for `sequences` prompts of `prompt` tokens at once.

        Keys and values of every layer lie in one padded cache; those of the prefill lie beside it while it is filled. Every layer
        has a weight of its own meanwhile: merged, or laid out for small products where the steps repay it.
        """
        s = self.sizes
        kv = s.kv_heads * s.head_dim
        cache = 2 * kv * s.layers * sequences * (prompt + new)
        filled = Rows(prompt * sequences, sequences, sequences)
        prefill = 3 * kv * s.layers * filled.tokens
        layer = self._layer(filled, False) + self._forward_scratch(filled.tokens)
        found = self._parts(prefill + max(layer, cache + 2 * sequences * s.vocabulary), ALLOCATOR_FORWARD)
        laid_out = self.product == 4 and packs(sequences, sequences * new)
        copied = self._linears() + s.vocabulary * s.hidden if laid_out else self._linears() if self.merged else 0
        return replace(found, weights=found.weights + copied * self.product)

    def _parts(self, values: int, allocator: float) -> Parts:
        """The peak is that of the work, or that of reading the largest tensor, the embedding."""
        work = FIRST_USE + int(values * self.value * allocator)
        embedding = self.sizes.vocabulary * self.sizes.hidden * self.sizes.stored_bytes
        return Parts(self.process, self.weights(), self.adapters(), max(work, embedding))

    def _scores(self, tokens: int) -> int:
        """Values of written-out scores: where they are capped, or some token may be too deep for a window."""
        s = self.sizes
        cut = any(w is not None and w < tokens for w in s.windows)
        return 4 * min(SCORES, s.heads * tokens**2) if cut or s.family == "gemma2" else 0

    def _embedding_noise(self, tokens: int) -> int:
        """Before the first layer: what enters it, the noise, and the two arrays of float64 that the noise is made from."""
        return tokens * self.sizes.hidden * (16 + 2 * self.value) // self.value if self.noise.embedding else 0

    def _noisy(self, tokens: int) -> int:
        """Keys and reach of every token (twice), what dropout of a branch gives beside what it was given, and some rows of factors."""
        if not self.noise:
            return 0
        dropped = 2 * tokens * self.sizes.hidden if self.noise.dropout else 0
        factors = 5 * FACTOR_ROWS * self.sizes.intermediate if self.noise.dropout or self.noise.lora else 0
        return 32 * tokens // self.value + dropped + factors

    def _layer(self, rows: Rows, last: bool) -> int:
        s = self.sizes
        q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
        of_queries = 2 * q + s.heads + s.hidden + self._inner(2) + (q if s.family in ("qwen3", "gemma3_text") else 0)
        of_queries += 2 * s.hidden if s.family in GEMMA else 0
        return rows.tokens * (s.hidden + 3 * kv) + (rows.queries if last else rows.tokens) * of_queries

    def _forward_scratch(self, rows: int) -> int:
        s = self.sizes
        return rows * max(self._inner(1) + s.hidden, 2 * s.hidden + s.heads * s.head_dim)

    def _backward_scratch(self, rows: int) -> int:
        s = self.sizes
        q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
        return rows * max(self._inner(4) + 4 * s.hidden, 6 * s.hidden + 2 * q + 4 * kv)

    def _inner(self, times: int) -> int:
        """Values that as many inner rows of the MLP take: they are kept in the precision of the products."""
        return times * self.sizes.intermediate * self.product // self.value


def packs(sequences: int, new: int) -> bool:
    """Whether generating `new` tokens in all repays a copy of the weights that is laid out for small products."""
    return sequences > 1 and new >= WORTH_PACKING


def rows_of(nodes: np.ndarray, needed: np.ndarray) -> Rows:
    """Rows of a pack from its nodes ([N, 3], see `trees.pack`): the queries of a node run from its first needed row to its end."""
    at = np.searchsorted(needed, nodes[:, 0])
    found = (at < len(needed)) & (needed[np.minimum(at, len(needed) - 1)] < nodes[:, 1])
    first = np.where(found, needed[np.minimum(at, len(needed) - 1)], nodes[:, 1])
    return Rows(int(nodes[-1, 1]), int((nodes[:, 1] - first).sum()), len(needed))


def largest(model: MemoryModel, packs: Sequence[Rows]) -> Rows:
    """The pack whose training needs most."""
    return max(packs, key=model.step_values)
