"""The floating-point operations that no exact method can leave out, and the rate at which this machine multiplies.

One decision: the count is of what must be done, never of what was done, so padding and recompute cannot raise it:
unique tokens after prefix sharing, the head on supervised rows only, the last layer's q, o and MLP on those rows only,
and no gradient below the lowest trained layer. R = (unavoidable_flops / measure_gemm_rate) / seconds of the step.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np

from luthier.engine.memory.dimensions import PARTS, Sizes, Trains, shape_of, window_of
from luthier.engine.trees.pack import Pack

_STAGE = {
    "q_proj": 0,
    "k_proj": 0,
    "v_proj": 0,
    "o_proj": 1,
    "gate_proj": 2,
    "up_proj": 2,
    "down_proj": 3,
    "qkv_proj": 0,
    "gate_up_proj": 2,
}
"""Order of computation inside a layer."""
_BACKWARD_OF_ATTENTION = 2.5
"""Backward over forward FLOPs of flash attention: five products of two (arXiv:2307.08691, section 4.1); 3.5 together."""
FROZEN = Trains(rank=0, modules=())
"""Nothing is trained: a forward pass."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of some packs. rows: unique tokens computed. needed: rows that predict a target.

    pairs: (row, key) pairs that causal attention visits over all rows; needed_pairs: over the needed rows.
    near_pairs, near_needed_pairs: the same where a row sees no further than a window.
    """

    rows: int = 0
    needed: int = 0
    pairs: int = 0
    needed_pairs: int = 0
    near_pairs: int = 0
    near_needed_pairs: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count(pack: Pack, window: int | None = None) -> Counts:
    """The counts of one pack: a row at depth p sees p + 1 keys, whatever the tree, at most `window` of them in the layers that have one."""
    needed = np.unique(pack.targets.row)
    sees = pack.positions + 1
    near = np.minimum(sees, window) if window is not None else np.zeros_like(sees)
    return Counts(pack.num_rows, len(needed), *(int(x.sum()) for x in (sees, sees[needed], near, near[needed])))


def unavoidable_flops(sizes: Sizes, packs: Iterable[Pack], trains: Trains) -> float:
    """FLOPs (a product and a sum are two) of forward and backward over `packs`.

    sizes: `Dimensions` or the fast engine's `Architecture`. trains: `Trains.lora(16)`, `Trains()` for all weights,
    `FROZEN` for a forward pass. Not counted: norms, rotary, SwiGLU, the loss, the optimiser, merging adapters.
    """
    return counted_flops(sizes, sum((count(p, window_of(sizes)) for p in packs), Counts()), trains)


def counted_flops(sizes: Sizes, counts: Counts, trains: Trains) -> float:
    """As `unavoidable_flops`, from counts. Per linear layer of i inputs and o outputs, on R rows:

    forward 2 i o R; gradient of its input 2 i o R, where something below it is trained; LoRA of rank r 4 r (i + o) R
    (X A^T and its two products with dY, dY B); a trained weight 2 i o R. So 4N for LoRA and 6N for all weights.
    Attention: A = 4 heads head_dim pairs forward, 2.5 A backward. Head: 2 V h needed forward, as much for the hidden
    row's gradient, as much again where the head itself is trained. Other methods: what `Own.flops` says, and no gradient
    below their lowest layer.
    """
    total = 0.0
    for layer in range(sizes.layers):
        last = layer == sizes.layers - 1
        for part in PARTS:
            rows = counts.needed if last and part not in ("k_proj", "v_proj") else counts.rows
            total += rows * _linear(sizes, part, trains, layer)
        for part in trains.modules:
            total += _adapted(sizes, part, trains, counts.needed if last else counts.rows, counts.rows)
        near = bool(sizes.windows) and sizes.windows[layer] is not None
        pairs = (counts.near_needed_pairs if near else counts.needed_pairs) if last else counts.near_pairs if near else counts.pairs
        backward = _BACKWARD_OF_ATTENTION if _gradient_reaches(trains, 1, layer) else 0.0
        total += 4.0 * sizes.heads * sizes.head_dim * pairs * (1.0 + backward)
    if trains.own is not None:
        trained = sizes.layers - trains.first
        total += trains.own.flops * (counts.rows * (trained - 1) + counts.needed) / trained
    head = 1 if trains == FROZEN else 2 if trains.rank is not None else 3
    return total + 2.0 * head * sizes.vocabulary * sizes.hidden * counts.needed


def _linear(sizes: Sizes, part: str, trains: Trains, layer: int) -> float:
    """FLOPs of one row through one frozen linear layer, forward and backward; and its weight's gradient where all are trained."""
    out, inner = shape_of(sizes, part)
    weight = trains.rank is None and part in trains.modules
    return 2.0 * out * inner * (1 + _gradient_reaches(trains, _STAGE[part], layer) + weight)


def _adapted(sizes: Sizes, part: str, trains: Trains, needed: int, rows: int) -> float:
    """FLOPs of an adapter over all rows of a layer. needed: rows that more than keys and values are computed for."""
    if trains.rank is None:
        return 0.0
    out, inner = shape_of(sizes, part)
    if part == "qkv_proj":
        q = sizes.heads * sizes.head_dim
        return 4.0 * trains.rank * (rows * (out - q + inner) + needed * q)
    return 4.0 * trains.rank * (out + inner) * (rows if part in ("k_proj", "v_proj") else needed)


def _gradient_reaches(trains: Trains, stage: int, layer: int) -> bool:
    """True when the input of what stands at `stage` of a layer needs a gradient: something before it is trained."""
    if layer < trains.first:
        return False
    if trains.rank is None or layer > trains.first:
        return bool(trains.modules)
    return any(_STAGE[part] < stage for part in trains.modules)


def pair_cost(sizes: Sizes) -> float:
    """Work of one (row, key) pair of attention over that of a row's linear layers, in training: 3.5 x 4 q / 4N."""
    linears = sum(o * i for o, i in (shape_of(sizes, part) for part in PARTS))
    return (1 + _BACKWARD_OF_ATTENTION) * sizes.heads * sizes.head_dim / linears


def head_cost(sizes: Sizes) -> float:
    """Work of one row of the frozen head over that of a row's linear layers, in training: 4 V h / 4N."""
    linears = sum(o * i for o, i in (shape_of(sizes, part) for part in PARTS))
    return sizes.vocabulary * sizes.hidden / (sizes.layers * linears)


def measure_gemm_rate(sizes: Sizes, rows: int = 2048, seconds: float = 1.5, precision: str = "float32") -> float:
    """FLOP/s of products of this model's own linear layers, forward and the gradient of the input, in this process.

    precision: float32, float64 or bfloat16.

    rows: rows of the left-hand side (a micro-batch). Each product is timed in turn until `seconds` are spent, at least
    twice, and its best time counts; the rate is all FLOPs over all best times. Fewer rows are taken for a model whose
    single product would take longer than that.
    """
    import torch

    dtype = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}[precision]
    shapes = [(o, i) for o, i in _groups(sizes) for _ in (0, 1)]
    largest = max(2 * o * i for o, i in shapes)
    rows = max(64, min(rows, int(3e10 / largest)))
    best = [float("inf")] * len(shapes)
    end, turn = time.perf_counter() + seconds, 0
    while turn < 2 or time.perf_counter() < end:
        for n, (out, inner) in enumerate(shapes):
            weight = torch.empty(out, inner, dtype=dtype).fill_(0.01)
            left = torch.empty(rows, out if n % 2 else inner, dtype=dtype).fill_(0.01)
            start = time.perf_counter()
            torch.mm(left, weight if n % 2 else weight.t())
            best[n] = min(best[n], time.perf_counter() - start)
        turn += 1
    return sum(2.0 * rows * o * i for o, i in shapes) / sum(best)


def _groups(sizes: Sizes) -> list[tuple[int, int]]:
    """(out, in) of the products as they are run: layers that read the same input are one."""
    shape = {part: shape_of(sizes, part) for part in PARTS}
    return [
        shape["q_proj"],
        (2 * shape["k_proj"][0], sizes.hidden),
        shape["o_proj"],
        (2 * sizes.intermediate, sizes.hidden),
        shape["down_proj"],
    ]
