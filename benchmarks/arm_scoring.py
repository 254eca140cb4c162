"""One arm of the scoring benchmark in a fresh process: lm-evaluation-harness's HF backend, or Luthier through the same interface.

Usage: arm_scoring.py JOB.json OUT.json. One decision: only the `loglikelihood` call is timed, tokenising included, after one
request that warms up; loading the model is timed apart.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance


def open_model(job: dict[str, Any]) -> Any:
    if job["arm"] == "luthier":
        from luthier.engine.harness import LuthierLM

        return LuthierLM(job["model"], engine="fast", threads=job["threads"])
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=job["model"], batch_size=job["batch_size"], dtype=job["dtype"], device="cpu")


def main(job: dict[str, Any], out: Path) -> None:
    torch.set_num_threads(job["threads"])
    start = time.perf_counter()
    model = open_model(job)
    loaded = time.perf_counter() - start
    model.loglikelihood(requests([["Warm up:", [" yes", " no"]]]), disable_tqdm=True)
    asked = requests(job["rows"])
    start = time.perf_counter()
    answers = model.loglikelihood(asked, disable_tqdm=True)
    seconds = time.perf_counter() - start
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    tokens = [len(model._encode_pair(*r.args)[1]) for r in asked]
    found = {"seconds": seconds, "load_seconds": loaded, "peak_mb": peak, "tokens": tokens, "torch": torch.__version__}
    out.write_text(json.dumps({**found, "logprobs": [p for p, _ in answers], "greedy": [g for _, g in answers]}))


def requests(rows: list[Any]) -> list[Instance]:
    """One for each choice of each row (context, choices)."""
    pairs = [(context, choice) for context, choices in rows for choice in choices]
    return [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i) for i, pair in enumerate(pairs)]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
