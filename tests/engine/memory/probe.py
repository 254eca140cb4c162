"""A fresh process that predicts, then does the work and reads its own high-water mark. One JSON document on stdout.

Usage: probe.py '{"folder": ..., "rank": 4, "targets": ["all-linear"], "lengths": [256, 256], "budget": 4096, "work": "train"}'
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np


def rows_of_cell(cell: dict[str, Any], vocabulary: int) -> list[Any]:
    """Sequences of the cell's lengths that share nothing, every token but the first `unsupervised` share a target."""
    from luthier.engine.contract import TokenSequence

    rng, out = np.random.default_rng(0), []
    for n in cell["lengths"]:
        weights = np.ones(n, np.float32)
        weights[: max(1, int(n * cell.get("prompt", 0.2)))] = 0
        out.append(TokenSequence(rng.integers(3, vocabulary, n).astype(np.int32), weights))
    return out


def spec_of(cell: dict[str, Any]) -> Any:
    """The method of the cell; None where its rank is 0."""
    from luthier.engine.methods.bitfit import BitFitSpec
    from luthier.engine.methods.dora import DoRASpec
    from luthier.engine.methods.ia3 import IA3Spec
    from luthier.engine.methods.last_layers import LastLayersSpec
    from luthier.engine.methods.lora import LoRASpec

    if not cell["rank"]:
        return None
    low_rank = (cell["rank"], 2.0 * cell["rank"], tuple(cell["targets"]))
    made = {"lora": lambda: LoRASpec(*low_rank), "dora": lambda: DoRASpec(*low_rank), "ia3": IA3Spec}
    made |= {"bitfit": lambda: BitFitSpec(create=True), "last_layers": lambda: LastLayersSpec(2)}
    return made[cell.get("method", "lora")]()


def predicted(cell: dict[str, Any], sequences: list[Any], process: int) -> Any:
    """The prediction, from the folder's config and headers and the sequences' lengths."""
    from luthier.engine.contract import NoiseRates
    from luthier.engine.fast.architecture import read_architecture
    from luthier.engine.fast.load import trains_of
    from luthier.engine.memory.dimensions import read_dimensions
    from luthier.engine.memory.flops import pair_cost
    from luthier.engine.memory.model import MemoryModel, largest, rows_of
    from luthier.engine.memory.room import GB, Room
    from luthier.engine.trees.pack import build_pack
    from luthier.engine.trees.planner import plan

    sizes = read_dimensions(Path(cell["folder"]))
    noise = NoiseRates(**cell.get("noise", {}))
    trains = trains_of(spec_of(cell), read_architecture(Path(cell["folder"])))
    model = MemoryModel.of(sizes, trains, process, cell.get("precision", "float32"))
    model = replace(model, average="ema" in cell, noise=noise)
    groups = plan([s.tokens for s in sequences], cell["budget"], pair_cost(model.sizes), noise.shares_prefixes)
    packs = [build_pack(sequences, g) for g in groups]
    worst = largest(model, [rows_of(p.nodes, np.unique(p.targets.row)) for p in packs])
    if cell["work"] == "train":
        limit = Room(model, int(cell["memory_gb"] * GB), cell["budget"]) if "memory_gb" in cell else None
        return model.training(worst, limit.recomputed_layers(worst) if limit else 0)
    if cell["work"] == "score":
        return model.scoring(worst)
    return model.generating(max(len(s.tokens) for s in sequences), cell["new"], len(sequences))


def work(cell: dict[str, Any], sequences: list[Any]) -> int:
    """Two steps, so that gradients and moments exist; or one scoring; or one generation. Returns the layers computed again."""
    from luthier.core.execution import Execution
    from luthier.engine.contract import Batch, Noise, NoiseRates, Sampling
    from luthier.engine.optim.config import AdamW
    from luthier.engine.select import load_engine
    from luthier.parts.losses.sft import SFT

    execution = Execution(engine="fast", micro_batch_tokens=cell["budget"], memory_gb=cell.get("memory_gb"))
    engine = load_engine(Path(cell["folder"]), spec_of(cell), execution, 0, dtype=cell.get("precision", "float32"))
    if cell["work"] == "train":
        normaliser = float(sum(s.weights.sum() for s in sequences))
        noise = Noise(NoiseRates(**cell["noise"]), 0, 0, tuple(range(len(sequences)))) if "noise" in cell else None
        engine.use_optimiser(AdamW(), cell.get("ema"))
        for _ in (0, 1):
            engine.forward_backward(Batch(tuple(sequences), normaliser, noise), SFT())
            engine.optim_step(1e-4)
    elif cell["work"] == "score":
        engine.logprobs(sequences)
    else:
        engine.sample([s.tokens for s in sequences], Sampling(max_new_tokens=cell["new"]))
    return engine.recomputed_layers


def main() -> None:
    from luthier.engine.fast.architecture import read_architecture
    from luthier.engine.memory.machine import peak_bytes, resident_bytes

    cell = json.loads(sys.argv[1])
    vocabulary = read_architecture(Path(cell["folder"])).vocabulary  # the libraries are in memory from here on
    sequences = rows_of_cell(cell, vocabulary)
    parts = predicted(cell, sequences, resident_bytes())
    again = work(cell, sequences)
    measured = peak_bytes()
    terms = {"process": parts.process, "weights": parts.weights, "adapters": parts.adapters, "activations": parts.activations}
    found = {"predicted": parts.total, "measured": measured, "ratio": parts.total / measured, "recomputed_layers": again, **terms}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
