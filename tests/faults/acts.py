"""What a trial does in its own process besides a verb: save a checkpoint, build a small artifact, write one file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from luthier.cli.process import guard
from luthier.core.artifacts import Dataset
from luthier.core.events import Metric
from luthier.core.execution import Execution
from luthier.core.files import write_atomic, write_json
from luthier.core.stage import Context, Stage
from luthier.core.store import Store


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
