"""Where the time of an optimiser step goes: operations timed by torch.profiler, sorted into parts, against the limit.

One decision: an operation is sorted by its name and its shapes, so the engine's layers carry no marks (only its planning
has one, once a pack); what no operation accounts for is shown as `other`, so the parts always add up to the measured step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from luthier.engine.contract import Batch, Engine, Loss
from luthier.engine.memory.dimensions import Dimensions, Trains, window_of
from luthier.engine.memory.flops import FROZEN, Counts, count, counted_flops, measure_gemm_rate
from luthier.engine.trees.pack import build_pack
from luthier.engine.trees.planner import PLANNING

PARTS: tuple[str, ...] = ("linears", "attention", "head", "elementwise", "optimiser", "data", "other")
TRACE = "luthier.pt.trace.json"
_STEP, _DATA, _OPTIMISER = "luthier: step", "luthier: data", "luthier: optimiser"
_SCOPES: dict[str, str] = {_DATA: "data", PLANNING: "data", _OPTIMISER: "optimiser"}
_PRODUCTS = frozenset({"aten::mm", "aten::addmm", "aten::addmm_", "aten::linear", "aten::matmul", "mkldnn::_linear_pointwise"})
_ATTENTION = ("scaled_dot_product", "flash_attention", "aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::lerp", "aten::logaddexp")
_GATHERS = ("aten::index", "aten::embedding", "aten::gather")


@dataclass(frozen=True, slots=True)
class Part:
    """milliseconds of one optimiser step; share of it, 0..1; limit_ms: its unavoidable FLOPs at the measured rate, or None."""

    name: str
    milliseconds: float
    share: float
    limit_ms: float | None


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Means over the profiled steps. step_ms: without the profiler; profiled_ms: with it, what the parts add up to.

    ratio_to_limit: R = limit_ms / step_ms. tokens: unique tokens of a step; gate and packing do not change them.
    """

    parts: tuple[Part, ...]
    num_steps: int
    step_ms: float
    profiled_ms: float
    limit_ms: float
    ratio_to_limit: float
    gemm_gflops: float
    tokens: int
    trace: Path


@dataclass(frozen=True, slots=True)
class Work:
    """What is profiled. batch: makes the rows of a step (from 0), counted as data."""

    engine: Engine
    batch: Callable[[int], Batch]
    loss: Loss
    learning_rate: float
    sizes: Dimensions
    trains: Trains


def profile_steps(work: Work, num_steps: int, folder: Path) -> StepProfile:
    """One step to warm up, `num_steps` timed plainly, and as many under the profiler; leaves the trace in `folder`.

    The engine's weights move: hand over one that nobody else uses. Raises NonFiniteLoss as training does.
    """
    _one_step(work, 0)
    plain = [_timed(work, 1 + i) for i in range(num_steps)]
    total = 0.0
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        for i in range(num_steps):
            start = time.perf_counter()
            with record_function(_STEP):
                _one_step(work, 1 + i)
            total += (time.perf_counter() - start) * 1e3
    trace = folder / TRACE
    folder.mkdir(parents=True, exist_ok=True)
    recorded.export_chrome_trace(str(trace))
    spent = _spent(recorded.events() or (), work.sizes.vocabulary, total)
    counts = _counts([work.batch(1 + i) for i in range(num_steps)], window_of(work.sizes))
    rate = measure_gemm_rate(work.sizes)
    limits = {name: flops / rate * 1e3 / num_steps for name, flops in _flops(work, counts).items()}
    parts = tuple(Part(name, spent[name] / num_steps, spent[name] / total, limits.get(name)) for name in PARTS)
    step_ms, limit_ms = sum(plain) / num_steps, sum(limits.values())
    return StepProfile(
        parts, num_steps, step_ms, total / num_steps, limit_ms, limit_ms / step_ms, rate / 1e9, counts.rows // num_steps, trace
    )


def _timed(work: Work, step: int) -> float:
    start = time.perf_counter()
    _one_step(work, step)
    return (time.perf_counter() - start) * 1e3


def _one_step(work: Work, step: int) -> None:
    with record_function(_DATA):
        batch = work.batch(step)
    work.engine.forward_backward(batch, work.loss)
    with record_function(_OPTIMISER):
        work.engine.optim_step(work.learning_rate)


def _spent(events: Sequence[Any], vocabulary: int, total: float) -> dict[str, float]:
    """Milliseconds by part; `other` is what no operation accounts for of `total`."""
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for event in events:
        if event.name in _SCOPES:
            spent[_SCOPES[event.name]] += event.time_range.elapsed_us() / 1e3
        elif event.name.startswith("aten::") and not _inside_scope(event):
            spent[part_of(event.name, event.input_shapes or [], vocabulary)] += event.self_cpu_time_total / 1e3
    return {**spent, "other": total - sum(spent.values())}


def _inside_scope(event: Any) -> bool:
    """True below a scope that is counted as a whole, and outside every step."""
    above = event.cpu_parent
    while above is not None and above.name != _STEP:
        if above.name in _SCOPES:
            return True
        above = above.cpu_parent
    return above is None


def part_of(name: str, shapes: Sequence[Any], vocabulary: int) -> str:
    """The part that an operation belongs to. shapes: of its tensor arguments, each a list of sizes.

    Head: works on logits ([..., vocabulary]) or multiplies by the output weight. Attention: the attention kernels, the
    merging of their pieces, and batched products and softmax of a plain attention. Linears: every other product,
    adapters' gradients included. Elementwise: norms, rotary, the MLP's gate, residuals, copies and gathers.
    """
    sized = [list(s) for s in shapes if isinstance(s, (list, tuple)) and len(s) >= 2 and all(isinstance(n, int) for n in s)]
    if not name.startswith(_GATHERS) or name == "aten::index_put_":
        logits = any(s[-1] == vocabulary for s in sized)
        if logits or (name in _PRODUCTS and any(vocabulary in s for s in sized)):
            return "head"
    if any(word in name for word in _ATTENTION):
        return "attention"
    return "linears" if name in _PRODUCTS else "elementwise"


def _counts(batches: Sequence[Batch], window: int | None) -> Counts:
    """Unique tokens of every step, whatever the gate did."""
    return sum((count(build_pack(b.sequences, range(len(b.sequences)), gate=0), window) for b in batches), Counts())


def _flops(work: Work, counts: Counts) -> dict[str, float]:
    """Unavoidable FLOPs by part; they add up to `counted_flops`."""
    products = 1 if work.trains == FROZEN else 2 if work.trains.rank is not None else 3
    head = 2.0 * products * work.sizes.vocabulary * work.sizes.hidden * counts.needed
    attention = counted_flops(work.sizes, replace(counts, rows=0, needed=0), work.trains)
    return {"linears": counted_flops(work.sizes, counts, work.trains) - head - attention, "attention": attention, "head": head}
