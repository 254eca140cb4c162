"""One arm of the generation benchmark, in a fresh process. Usage: arm_generate.py JOB.json OUT.json

One decision: the clock runs over generation alone (token ids in, token ids out); loading and one short warm-up are outside.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Tokens = list[list[int]]
Generate = Callable[[Tokens, int], Tokens]


def luthier(job: dict[str, Any]) -> Generate:
    """Luthier's fast engine with its default execution settings."""
    from luthier.core.execution import Execution
    from luthier.engine.contract import Sampling
    from luthier.engine.select import load_engine

    engine = load_engine(Path(job["model"]), None, Execution(engine="fast", threads=job["threads"]), 0)

    def generate(prompts: Tokens, limit: int) -> Tokens:
        sampling = Sampling(max_new_tokens=limit, stop_ids=tuple(job["stop_ids"]))
        return [list(c.tokens) for c in engine.sample([np.array(p, np.int32) for p in prompts], sampling)]

    return generate


def load_peer(job: dict[str, Any], attention: str) -> Any:
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, attn_implementation=attention, local_files_only=True)
    return model.eval()


def padded(job: dict[str, Any]) -> Generate:
    """transformers' `generate` over left-padded batches of `batch`, in the order of lengths when `by_length`."""
    model = load_peer(job, "sdpa")

    def generate(prompts: Tokens, limit: int) -> Tokens:
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i])) if job["by_length"] else list(range(len(prompts)))
        out: Tokens = [[] for _ in prompts]
        for start in range(0, len(order), job["batch"]):
            group = order[start : start + job["batch"]]
            longest = max(len(prompts[i]) for i in group)
            ids = torch.tensor([[job["pad"]] * (longest - len(prompts[i])) + prompts[i] for i in group])
            mask = torch.arange(longest)[None] >= longest - torch.tensor([[len(prompts[i])] for i in group])
            settings = {"max_new_tokens": limit, "do_sample": False, "eos_token_id": job["stop_ids"], "pad_token_id": job["pad"]}
            found = model.generate(ids, attention_mask=mask.long(), **settings)
            for i, row in zip(group, found[:, longest:].tolist(), strict=True):
                out[i] = row
        return out

    return generate


def continuous(job: dict[str, Any]) -> Generate:
    """transformers' `generate_batch` (continuous batching) as it comes."""
    from transformers import GenerationConfig

    model = load_peer(job, "sdpa")

    def generate(prompts: Tokens, limit: int) -> Tokens:
        settings = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=job["stop_ids"], pad_token_id=job["pad"])
        found = model.generate_batch(prompts, generation_config=settings)
        by_number = sorted(found.values(), key=lambda done: int(done.request_id.rsplit("_", 1)[1]))
        return [list(done.generated_tokens) for done in by_number]

    return generate


def until_stop(tokens: list[int], stops: list[int]) -> list[int]:
    """The tokens before the first stop token."""
    at = next((i for i, t in enumerate(tokens) if t in stops), len(tokens))
    return tokens[:at]


def main(job: dict[str, Any], out: Path) -> None:
    generate = {"luthier": luthier, "padded": padded, "continuous": continuous}[job["how"]](job)
    with torch.no_grad():
        generate(job["prompts"][:2], 2)
        start = time.perf_counter()
        tokens = generate(job["prompts"], job["max_new_tokens"])
        seconds = time.perf_counter() - start
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    out.write_text(json.dumps({"seconds": seconds, "peak_mb": peak, "tokens": [until_stop(t, job["stop_ids"]) for t in tokens]}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
