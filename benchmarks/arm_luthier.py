"""One arm: Luthier's fast engine, in a fresh process. Usage: arm_luthier.py JOB.json OUT.json

One decision: the first gradients are clipped as the peer's are, so that the same thing is compared. The limit for R
(unavoidable FLOPs at this model's own GEMM rate) is measured after the steps, in the same process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from luthier.core.execution import Execution
from luthier.engine.contract import Batch, TokenSequence
from luthier.engine.fast.architecture import read_architecture
from luthier.engine.memory.dimensions import Trains
from luthier.engine.memory.flops import measure_gemm_rate, unavoidable_flops
from luthier.engine.select import load_engine
from luthier.engine.trees.pack import build_pack
from luthier.parts.losses.sft import SFT


def main(job: dict[str, Any], out: Path) -> None:
    execution = Execution(engine="fast", threads=job["threads"])
    engine = load_engine(Path(job["model"]), None, execution, 0, Path(job["adapter"]), job["precision"])
    rows = [TokenSequence(np.array(r["input_ids"], np.int32), np.array(r["completion_mask"], np.float32)) for r in job["rows"]]
    steps = [tuple(rows[i : i + job["rows_per_step"]]) for i in range(0, len(rows), job["rows_per_step"])]
    seconds, losses, unique, separate = [], [], [], []
    for i, step in enumerate(steps):
        start = time.perf_counter()
        done = engine.forward_backward(Batch(step, float(sum(s.weights.sum() for s in step))), SFT())
        taken = time.perf_counter() - start
        if i == 0:
            grads = engine.gradients()
            norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads.values()])))
            save_file({n: g * min(1.0, 1.0 / (norm + 1e-6)) for n, g in grads.items()}, out.with_suffix(".safetensors"))
        start = time.perf_counter()
        engine.optim_step(job["learning_rate"])
        seconds.append(taken + time.perf_counter() - start)
        losses.append(done.loss)
        unique.append(done.unique_tokens)
        separate.append(done.as_if_separate_tokens)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    result = {"seconds": seconds, "losses": losses, "peak_mb": peak, "unique_tokens": unique, "as_if_separate_tokens": separate}
    out.write_text(json.dumps({**result, "torch": torch.__version__, **limit(Path(job["model"]), steps, seconds, job["precision"])}))


def limit(model: Path, steps: list[tuple[TokenSequence, ...]], seconds: list[float], precision: str) -> dict[str, Any]:
    """GEMM rate of this process and R of each step. The count shares every common token, whatever the gate did."""
    arch = read_architecture(model)
    rate = measure_gemm_rate(arch, precision=precision)
    flops = [unavoidable_flops(arch, [build_pack(step, range(len(step)), gate=0)], Trains.lora(16)) for step in steps]
    return {"gflops_per_second": rate / 1e9, "R": [f / rate / s for f, s in zip(flops, seconds, strict=True)]}


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
