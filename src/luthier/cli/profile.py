"""What `luthier train --profile` prints: the parts of a step against the limit, and the trace."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from luthier.cli.process import emit, say

if TYPE_CHECKING:
    from luthier.engine.profile import StepProfile

MEANING = {
    "linears": "products of the decoder's linear layers and of their adapters",
    "attention": "attention kernels and the merging of their pieces",
    "head": "logits, log-probabilities and their gradient",
    "elementwise": "norms, rotary, SwiGLU, residuals, copies",
    "optimiser": "clipping, update, merging adapters into the weights",
    "data": "picking rows, planning and packing",
    "other": "Python between the operations",
}


def show(found: StepProfile, engine: str, json: bool) -> None:
    """The table on stderr; with `json` the document on stdout."""
    from luthier.cli.documents import ProfileDocument, ProfilePart
    from luthier.cli.tables import print_table

    if json:
        facts = {f.name: getattr(found, f.name) for f in dataclasses.fields(found) if f.name not in ("parts", "num_steps", "trace")}
        parts = tuple(ProfilePart(**dataclasses.asdict(p)) for p in found.parts)
        emit(ProfileDocument(engine=engine, steps=found.num_steps, parts=parts, trace=str(found.trace), **facts))
    rows = [(p.name, f"{p.milliseconds:.1f}", f"{100 * p.share:.1f} %", _limit(p.limit_ms), MEANING[p.name]) for p in found.parts]
    rows.append(("together", f"{found.profiled_ms:.1f}", "100.0 %", _limit(found.limit_ms), ""))
    title = f"one optimiser step of {found.tokens} tokens, {engine} engine, mean of {found.num_steps}"
    print_table(title, ("part", "ms", "share", "limit, ms", ""), rows)
    say(f"without the profiler a step takes {found.step_ms:.1f} ms; the limit is its unavoidable work at {found.gemm_gflops:.0f} GFLOP/s")
    say(f"R = limit / step = {found.ratio_to_limit:.2f} (1 is a step that does nothing but unavoidable matrix products)")
    say(f"trace: {os.path.relpath(found.trace)} (open it at https://ui.perfetto.dev, in chrome://tracing, speedscope or TensorBoard)")


def _limit(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.1f}"
