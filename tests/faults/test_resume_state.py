"""A training that is stopped after every single step, each time with other global random numbers, ends like one that never was."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.core.events import Event, Metric
from luthier.core.execution import Execution
from luthier.core.store import BuildContext, Interrupted, Store
from luthier.engine.checkpoint.folder import load_newest
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.optim.config import Adafactor, AdamW, Lion, OptimizerConfig
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from luthier.stages.train.loop import BEST, Objective, Progressed, Rows, train
from luthier.stages.train.recipe import EarlyStopping, Recipe
from toys import random_tokens, save_toy, sequence

EARLY = EarlyStopping(patience=2, min_delta=0.3)
WATCHED = Objective("validation/loss", higher_is_better=False)


def call(base: Path, folder: Path, optimizer: OptimizerConfig, stop: bool) -> tuple[Progressed, dict[str, Any], list[Metric]]:
    """One call of the training in `folder`, which goes on from what is there; with `stop` it is asked to stop at once."""
    engine = load_engine(base, LoRASpec(rank=2, alpha=4), Execution(engine="fast"), 13)
    engine.use_optimiser(optimizer)
    rng = np.random.default_rng(5)
    rows = [sequence(random_tokens(rng, 10 + i), [6, 7, 8, 9]) for i in range(10)]
    seen: list[Metric] = []

    def observe(event: Event) -> None:
        if isinstance(event, Metric) and event.name != "seconds_per_step":
            seen.append(event)

    folder.mkdir(exist_ok=True)
    ctx = BuildContext(Store(folder), folder, Execution(engine="fast", save_every=100), observe, lambda: stop)
    recipe = Recipe(
        steps=20,
        batch_size=4,
        evaluations=10,
        learning_rate=0.05,
        optimizer=optimizer,
        early_stopping=EARLY,
    )

    def evaluate(step: int) -> dict[str, float]:
        return {"validation/loss": float(-np.concatenate(engine.logprobs(rows[:3])).mean())}

    done = train(engine, Rows(tuple(rows), tuple(map(str, range(10)))), SFT(), recipe, evaluate, ctx, WATCHED)
    return done, engine.state(), seen


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Bit for bit, tensors and plain values."""
    return set(a) == set(b) and all(torch.equal(v, b[k]) if isinstance(v, torch.Tensor) else v == b[k] for k, v in a.items())


@pytest.mark.parametrize("optimizer", [AdamW(weight_decay=0.1, clip_norm=0.5), Lion(), Adafactor()], ids=lambda o: o.kind)
def test_stopped_after_every_step_it_ends_with_the_same_state(tmp_path: Path, optimizer: OptimizerConfig) -> None:
    base = save_toy(tmp_path / "base", "llama")
    wanted, state, figures = call(base, tmp_path / "whole", optimizer, stop=False)
    assert wanted.stopped.startswith("early: ")
    assert wanted.best_step > 0
    stops = 0
    for attempt in itertools.count():
        torch.manual_seed(attempt)
        np.random.seed(attempt)
        random.seed(attempt)
        try:
            found, resumed, last = call(base, tmp_path / "stopped", optimizer, stop=True)
            break
        except Interrupted:
            stops += 1
    assert stops == wanted.step  # one step each: none repeated, none skipped
    assert found == wanted
    assert equal(resumed, state)
    assert last[-1] == figures[-1]
    best, again = (load_newest(tmp_path / name / BEST) for name in ("whole", "stopped"))
    assert best is not None
    assert again is not None
    assert best.step == again.step == wanted.best_step
    assert equal(best.state, again.state)
