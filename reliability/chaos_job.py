"""A small training for `ckpt-chaos`: `python reliability/chaos_job.py OUT`, resumed by the same command.

One decision: the loop, the engine and the checkpoints are those of `luthier train`; only the rows and the figures of an
evaluation are made here, so that a call takes little longer than importing torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))

from luthier.core.events import Event, Note  # noqa: E402
from luthier.core.execution import Execution  # noqa: E402
from luthier.core.store import BuildContext, Store  # noqa: E402
from luthier.engine.methods.lora import LoRASpec  # noqa: E402
from luthier.engine.select import load_engine  # noqa: E402
from luthier.parts.losses.sft import SFT  # noqa: E402
from luthier.stages.train.loop import Objective, Rows, train  # noqa: E402
from luthier.stages.train.recipe import Recipe  # noqa: E402
from toys import random_tokens, save_toy, sequence  # noqa: E402


def say(event: Event) -> None:
    if isinstance(event, Note):
        print(event.text, flush=True)  # noqa: T201


def main() -> None:
    """Train for six steps; the adapter ends as OUT/final."""
    out = Path(sys.argv[1])
    base = out.parent / "base"
    if not (base / "model.safetensors").exists():
        save_toy(base, "llama")
    out.mkdir(parents=True, exist_ok=True)
    execution = Execution(engine="fast", save_every=2, threads=1)
    engine = load_engine(base, LoRASpec(rank=2, alpha=4), execution, 13, dtype="float32")
    rng = np.random.default_rng(0)
    rows = [sequence(random_tokens(rng, 12), [8, 9, 10, 11]) for _ in range(12)]
    ctx = BuildContext(Store(out), out, execution, say, lambda: False)

    def evaluate(step: int) -> dict[str, float]:
        return {"validation/loss": float(-np.concatenate(engine.logprobs(rows[:3])).mean())}

    recipe = Recipe(steps=6, batch_size=4, evaluations=2, learning_rate=0.01)
    train(engine, Rows(tuple(rows), tuple(str(i) for i in range(12))), SFT(), recipe, evaluate, ctx, Objective("validation/loss", False))
    engine.save_adapter(out / "final", "toy")


if __name__ == "__main__":
    main()
