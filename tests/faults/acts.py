"""What a trial does in its own process besides a verb: run the training loop, save a checkpoint, build artifacts, write one file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.cli.process import guard
from luthier.core.artifacts import Dataset
from luthier.core.events import Event, Metric, Note
from luthier.core.execution import Execution
from luthier.core.files import append_bytes, write_atomic, write_json
from luthier.core.stage import Context, Stage
from luthier.core.store import BuildContext, Store
from luthier.engine.contract import Engine
from toys import random_tokens, sequence


def state_of(step: int, salt: int = 0) -> dict[str, Any]:
    """A checkpoint's state that no other step or salt has."""
    generator = torch.Generator().manual_seed(1000 * salt + step)
    return {"adapter.a": torch.randn(40, generator=generator), "loop": {"step": step, "salt": salt}}


class Small(Stage[Dataset]):
    """A stage with files of every kind: plain, atomic, in a folder, appended to."""

    n: int = 3

    def build(self, ctx: Context) -> Dataset:
        for step in range(2):
            ctx.observer(Metric(step, "train", "loss", 0.5))
        (ctx.dir / "metrics.jsonl").write_text("[]\n")
        (ctx.dir / "sub").mkdir(exist_ok=True)
        (ctx.dir / "sub" / "rows.txt").write_text("row\n" * self.n)
        write_json(ctx.dir / "scores.json", {"rows": self.n})
        return Dataset(kind="text", files={}, counts={"any": self.n})


class Above(Stage[Dataset]):
    """One more link of a chain of stages."""

    below: Stage[Dataset]

    def build(self, ctx: Context) -> Dataset:
        n = ctx.get(self.below).result.counts["any"] + 1
        (ctx.dir / "rows.txt").write_text("row\n" * n)
        write_json(ctx.dir / "half.json", {"n": n})
        return Dataset(kind="text", files={}, counts={"any": n})


def chain(length: int) -> Stage[Dataset]:
    """`length` stages, one on the other."""
    stage: Stage[Dataset] = Small()
    for _ in range(length - 1):
        stage = Above(below=stage)
    return stage


def train(base: str, out: str, processes: str = "1") -> None:
    """Six steps of the training loop on a toy base, resumed by the same call; leaves `<out>/final` and `<out>/metrics.jsonl`."""
    from luthier.engine.methods.lora import LoRASpec
    from luthier.engine.parallel.start import open_engine

    def work() -> None:
        execution = Execution(engine="fast", save_every=2, threads=int(processes), nproc=int(processes))
        with open_engine(Path(base), LoRASpec(rank=2, alpha=4), execution, 13) as engine:
            _train(engine, Path(out), execution)

    _verb(work)


def _train(engine: Engine, folder: Path, execution: Execution) -> None:
    from luthier.parts.losses.sft import SFT
    from luthier.stages.train.loop import Objective, Rows
    from luthier.stages.train.loop import train as train_to_the_end
    from luthier.stages.train.recipe import Recipe

    rng = np.random.default_rng(0)
    rows = tuple(sequence(random_tokens(rng, 12), [8, 9, 10, 11]) for _ in range(12))

    def observe(event: Event) -> None:
        if isinstance(event, Note):
            print(event.text, flush=True)
        elif isinstance(event, Metric) and event.name != "seconds_per_step":
            append_bytes(folder / "metrics.jsonl", (json.dumps(asdict(event)) + "\n").encode())

    def evaluate(step: int) -> dict[str, float]:
        return {"validation/loss": float(-np.concatenate(engine.logprobs(list(rows[:3]))).mean())}

    folder.mkdir(parents=True, exist_ok=True)
    ctx = BuildContext(Store(folder), folder, execution, observe, lambda: False)
    recipe = Recipe(steps=6, batch_size=4, evaluations=2, learning_rate=0.01)
    keys = tuple(str(i) for i in range(len(rows)))
    train_to_the_end(engine, Rows(rows, keys), SFT(), recipe, evaluate, ctx, Objective("validation/loss", False))
    engine.save_adapter(folder / "final", "toy")


def save(folder: str, step: str, salt: str = "0") -> None:
    from luthier.engine.checkpoint.folder import save_checkpoint

    _verb(lambda: save_checkpoint(Path(folder), int(step), state_of(int(step), int(salt))))


def build(root: str, length: str = "1") -> None:
    _verb(lambda: Store(Path(root)).build(chain(int(length)), Execution()))


def write(path: str, text: str) -> None:
    _verb(lambda: write_atomic(Path(path), text.encode()))


def write_carelessly(path: str, text: str) -> None:
    """What a power cut must be seen to break: a rename before the bytes are flushed."""
    aside = Path(path).with_suffix(".tmp")
    aside.write_text(text)
    aside.rename(path)


def _verb(work: Callable[[], object]) -> None:
    """Like a verb of the command line: one message and an exit code."""
    import typer

    def verb() -> int:
        work()
        return 0

    try:
        guard(verb, as_json=False)
    except typer.Exit as err:
        sys.exit(err.exit_code)
