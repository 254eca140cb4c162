"""What a split costs: seconds of a step with a shared piece of S tokens split off, and with it repeated per branch.

One decision: the gate in `engine/trees/merge.py` is the saving at which splitting starts to win here; both ways
give the same gradients. Usage: tree_gate.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from luthier.core.execution import Execution
from luthier.engine.contract import TokenSequence
from luthier.engine.fast.decoder import Keep
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.models.resolve import resolve
from luthier.engine.select import load_engine
from luthier.engine.trees.pack import build_pack


def pairs(shared: int, rng: np.random.Generator) -> list[TokenSequence]:
    """Eight sequences below one prefix of 200 tokens, two by two sharing `shared` more."""
    out, root = [], rng.integers(3, 49_000, 200)
    for _ in range(4):
        middle = rng.integers(3, 49_000, shared)
        for _ in range(2):
            tokens = np.concatenate([root, middle, rng.integers(3, 49_000, 40)]).astype(np.int32)
            weights = np.zeros(len(tokens), np.float32)
            weights[-5:] = 1
            out.append(TokenSequence(tokens, weights))
    return out


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    options = parser.parse_args()
    repeats, found = options.repeats, []
    engine = load_engine(Path(resolve("smollm2-135m-instruct").folder), LoRASpec(16, 32.0), Execution(engine="fast"), 0)
    decoder = engine._decoder  # type: ignore[attr-defined]
    engine._adapters.ensure_gradients()  # type: ignore[attr-defined]
    for shared in (4, 8, 16, 32, 64):
        rows, seconds = pairs(shared, np.random.default_rng(shared)), {"split": [], "repeated": []}
        for _ in range(repeats):
            for name, gate in (("split", 1), ("repeated", 10 * shared)):
                pack = build_pack(rows, range(len(rows)), gate=gate)
                start = time.perf_counter()
                run = decoder.forward(pack, np.unique(pack.targets.row), Keep(backward=True))
                decoder.backward(run, torch.ones_like(run.hidden))
                seconds[name].append(time.perf_counter() - start)
        middle = {k: statistics.median(v) for k, v in seconds.items()}
        found.append({"saved_tokens": shared, "times": 4, "median_seconds": middle, "seconds": seconds})
        print(f"saves {shared:3d} tokens four times: split {middle['split']:.3f} s, repeated {middle['repeated']:.3f} s", flush=True)
    today = datetime.date.today().isoformat()
    made = {"date": today, "threads": torch.get_num_threads(), "machine_load": os.getloadavg()[0], "pieces": found}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{today}-tree-gate.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
