"""A small training for `ckpt-chaos`: `python reliability/chaos_job.py OUT [PROCESSES]`, resumed by the same command.

One decision: the loop, the engine and the checkpoints are those of `luthier train`; only the rows and the figures of an
evaluation are made here, so that a call takes little longer than importing torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "faults"), str(TESTS)]

from acts import train  # noqa: E402

from toys import save_toy  # noqa: E402

if __name__ == "__main__":
    out = Path(sys.argv[1])
    base = out.parent / "base"
    if not (base / "model.safetensors").exists():
        save_toy(base, "llama")
    train(str(base), str(out), *sys.argv[2:3])
