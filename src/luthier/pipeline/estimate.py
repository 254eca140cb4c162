"""What training will take: steps, minutes, memory, energy and disk, for `luthier plan`.

One decision: figures come from the rows themselves, so there are none before the data is prepared. torch is imported only to
time this machine's matrix products once; the rate is kept in `.luthier/machine.json` for this processor and model shape.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

import pydantic

from luthier.core.errors import EngineRefused, from_os_error
from luthier.core.files import write_json
from luthier.engine.memory.dimensions import FAMILIES, Dimensions, Trains, read_dimensions, read_family
from luthier.engine.memory.flops import measure_gemm_rate
from luthier.engine.memory.forecast import Forecast, forecast
from luthier.engine.memory.model import LIBRARIES, MemoryModel
from luthier.engine.memory.room import limit_bytes, room_in
from luthier.engine.models.kinds import WORDS
from luthier.pipeline.workspace import Workspace

GB = 2**30
COUNTED = ("lora", "dora", "ia3", "bitfit", "last_layers")
"""The methods that the memory model knows: those of the fast engine."""
RATIO = (0.5, 0.9)
"""Assumed range of unavoidable work at the measured rate over the seconds of a step: what a quiet machine reaches, and half."""
WATTS_PER_CORE = 10.0
_STATES_ON_DISK = 4
"""Two resume points, the best one, and one being written, each of the adapter and two moments."""


class Estimate(pydantic.BaseModel):
    """Training alone: evaluations and the baselines are not in it. Memory is that of all processes together.

    minutes and watt_hours are (low, high).
    """

    model_config = pydantic.ConfigDict(frozen=True)

    optimiser_steps: int
    flops: float
    gemm_flops_per_second: float
    minutes: tuple[float, float]
    watt_hours: tuple[float, float]
    peak_memory_gb: float
    memory_limit_gb: float
    micro_batch_tokens: int
    recomputed_layers: int
    unique_share: float
    disk_gb: float
    free_disk_gb: float

    def lines(self) -> list[str]:
        """The same in words."""
        low, high = self.minutes
        shared = f", {1 - self.unique_share:.0%} of all tokens shared" if self.unique_share < 0.995 else ""
        again = f", {self.recomputed_layers} layers computed again" if self.recomputed_layers else ""
        return [
            f"training: {self.optimiser_steps} optimiser steps, {self.flops / 1e12:.1f} TFLOP{shared}; "
            f"about {low:.1f} to {high:.1f} minutes at {self.gemm_flops_per_second / 1e9:.0f} GFLOP/s, evaluations not counted",
            f"memory: {self.peak_memory_gb:.1f} GB predicted at the peak of {self.memory_limit_gb:.1f} GB, "
            f"micro-batches of up to {self.micro_batch_tokens} tokens{again}",
            f"energy: about {self.watt_hours[0]:.1f} to {self.watt_hours[1]:.1f} Wh at {WATTS_PER_CORE:.0f} W a core; "
            f"disk: {self.disk_gb:.2f} GB needed, {self.free_disk_gb:.1f} GB free",
        ]


def estimate(workspace: Workspace) -> Estimate | None:
    """The estimate of a project's training; None before base and rows are there, when done, or where `not_predicted` says why.

    Raises UserError when the worst step fits the memory in no way.
    """
    graph, store, recipe = workspace.graph, workspace.store, workspace.project.train
    if not (store.is_built(graph.base) and store.is_built(graph.prepared)) or store.is_built(graph.train):
        return None
    from luthier.engine.text.prepared import read_prepared
    from luthier.stages.train.loop import rows_of_run

    execution = workspace.project.execution
    folder = Path(store.build(graph.base, execution).result.folder)
    trains = _counted(workspace)
    if not isinstance(trains, Trains):
        return None
    sizes = read_dimensions(folder)
    sequences = read_prepared(store.build(graph.prepared, execution).path, "train").sequences
    model = MemoryModel.of(sizes, trains, LIBRARIES, recipe.precision)
    limit = limit_bytes(execution) // execution.nproc
    room = room_in(model, limit, execution).averaging(recipe.regularisation.ema is not None)
    found = forecast(room, sequences, rows_of_run(len(sequences), recipe), recipe.noise_rates())
    rate = gemm_rate(workspace.home, sizes, execution.threads, recipe.precision)
    return _figures(found, model, limit, rate, workspace)


def not_predicted(workspace: Workspace) -> str:
    """Why time and memory of a project's training are not predicted, as far as it is known yet; empty where they are."""
    found = _counted(workspace)
    return found if isinstance(found, str) else ""


def _counted(workspace: Workspace) -> Trains | str | None:
    """What the memory model counts, or why it does not; None before the base is there."""
    execution, recipe, store = workspace.project.execution, workspace.project.train, workspace.store
    if recipe.method.kind not in COUNTED:
        return f"there is no memory model for the method {recipe.method.kind}"
    if execution.engine in ("generic", "reference"):
        return f"there is no memory model for the {execution.engine} engine"
    if not store.is_built(workspace.graph.base):
        return None
    base = store.build(workspace.graph.base, execution).result
    if base.kind != "decoder":
        return f"there is no memory model for {WORDS[base.kind]}"
    if (family := read_family(Path(base.folder))) not in FAMILIES:
        return f"there is no memory model for the generic engine, which {family} models are trained on"
    from luthier.engine.fast.architecture import read_architecture
    from luthier.engine.fast.load import trains_of

    try:
        return trains_of(recipe.method.spec(), read_architecture(Path(base.folder)))
    except EngineRefused as refusal:
        return str(refusal)


def _figures(found: Forecast, model: MemoryModel, limit: int, rate: float, workspace: Workspace) -> Estimate:
    execution = workspace.project.execution
    seconds = [found.flops / rate / r for r in reversed(RATIO)]
    cores = execution.threads or len(os.sched_getaffinity(0))
    return Estimate(
        optimiser_steps=found.steps,
        flops=found.flops,
        gemm_flops_per_second=rate,
        minutes=(seconds[0] / 60, seconds[1] / 60),
        watt_hours=(seconds[0] / 3600 * cores * WATTS_PER_CORE, seconds[1] / 3600 * cores * WATTS_PER_CORE),
        peak_memory_gb=execution.nproc * found.peak.total / GB,
        memory_limit_gb=execution.nproc * limit / GB,
        micro_batch_tokens=found.micro_batch_tokens,
        recomputed_layers=found.recomputed_layers,
        unique_share=found.share,
        disk_gb=(_STATES_ON_DISK * 3 + 1) * model.parameters() * model.value / GB,
        free_disk_gb=shutil.disk_usage(workspace.home).free / GB,
    )


def gemm_rate(home: Path, sizes: Dimensions, threads: int | None, precision: str = "float32") -> float:
    """FLOP/s of this model's products on this machine: measured once (under 2 s), then read from `machine.json`."""
    path = home / "machine.json"
    shape = f"{sizes.hidden}x{sizes.intermediate}x{sizes.heads}x{sizes.kv_heads}x{sizes.head_dim}"
    key = f"{platform.node()} {platform.machine()} {len(os.sched_getaffinity(0))} cores, {threads or 'all'} threads, {precision} {shape}"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["gemm_flops_per_second"] if path.exists() else {}
    except (ValueError, KeyError):
        known = {}  # a cache: measured again and written whole
    if key not in known:
        known[key] = _measured(sizes, threads, precision)
        try:
            write_json(path, {"gemm_flops_per_second": known})
        except OSError as err:
            raise from_os_error(err, "writing the measured rate") from None
    return float(known[key])


def _measured(sizes: Dimensions, threads: int | None, precision: str) -> float:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return measure_gemm_rate(sizes, precision=precision)
