"""What a resume costs before its first step: reading the newest checkpoint of the real model, its hashes and its optimiser.

One decision: processor seconds are bounded, not seconds of the clock, so that a busy machine proves nothing wrong.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from luthier.core.errors import LuthierError
from luthier.core.execution import Execution
from luthier.engine.checkpoint.folder import load_newest, save_checkpoint
from luthier.engine.contract import Batch, Engine
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from toys import sequence

MOST_S = 10.0


def step(engine: Engine) -> None:
    engine.forward_backward(Batch((sequence([5, 6, 7, 8], [2, 3]),), 2.0), SFT())
    engine.optim_step(1e-3)


def test_the_real_model_goes_on_in_less_than_ten_seconds(tmp_path: Path) -> None:
    from luthier.engine.models.resolve import resolve

    try:
        folder = Path(resolve("smollm2-135m-instruct", allow_network=False).folder)
    except LuthierError as err:
        pytest.skip(f"the embedded model is not in the cache: {err}")
    engine = load_engine(folder, LoRASpec(rank=16, alpha=32), Execution(engine="fast"), 1)
    step(engine)  # from here on it has moments
    saved = engine.state()
    save_checkpoint(tmp_path, 1, saved)
    step(engine)
    began = time.process_time()
    found = load_newest(tmp_path)
    assert found is not None
    engine.load_state(found.state)
    spent = time.process_time() - began
    again = engine.state()
    assert all(torch.equal(again[name], value) for name, value in saved.items() if isinstance(value, torch.Tensor))
    assert sum(value.nbytes for value in saved.values() if isinstance(value, torch.Tensor)) > 50e6
    assert spent < MOST_S, spent
