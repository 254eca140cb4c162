"""Products in bfloat16: no further from float64 than transformers' own autocast, and small updates of an adapter are not swallowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import BATCHES, as_batch
from luthier.core.errors import EngineRefused
from luthier.core.execution import Execution
from luthier.engine.contract import Sampling
from luthier.engine.fast.linear import Adapter, Linear
from luthier.engine.fast.products import project, project_back
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from toys import FAMILIES, toy_engine

SPEC = LoRASpec(4, 8.0)


def moved(engine: Any, size: float = 0.05) -> Any:
    """The engine with every B drawn at random, the same for each engine."""
    state = engine.state()
    for i, name in enumerate(sorted(n for n in state if n.endswith(".lora_B.weight"))):
        drawn = torch.randn(state[name].shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        state[name] = (size * drawn).to(state[name].dtype)
    engine.load_state(state)
    return engine


def gradients(engine: Any, batch: Any) -> torch.Tensor:
    engine.forward_backward(batch, SFT())
    return torch.cat([g.double().flatten() for g in engine.gradients().values()])


def low(folder: Any) -> Any:
    return load_engine(folder, SPEC, Execution(engine="fast"), 0, dtype="bfloat16")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", BATCHES)
def test_gradients_are_as_near_as_those_of_autocast(toy_folder: Any, family: str, name: str) -> None:
    folder, batch = toy_folder(family), as_batch(BATCHES[name]())
    exact = gradients(moved(toy_engine(folder, "reference", SPEC)), batch)
    ours = gradients(moved(low(folder)), batch)
    plain = moved(load_engine(folder, SPEC, Execution(engine="reference"), 0))
    with torch.autocast("cpu", torch.bfloat16):
        theirs = gradients(plain, batch)
    assert 1e-4 < (ours - exact).norm() / exact.norm() <= 1.2 * (theirs - exact).norm() / exact.norm()


def test_a_small_update_is_not_swallowed() -> None:
    """Rounded into the base's bfloat16 weights, a B of 1e-5 would be lost."""
    draw = torch.Generator().manual_seed(0)
    a = torch.nn.Parameter(torch.randn(4, 32, generator=draw))
    small = torch.nn.Parameter(1e-5 * torch.randn(24, 4, generator=draw))
    x, d_y = torch.randn(7, 32, generator=draw), torch.randn(7, 24, generator=draw)
    base = torch.zeros(24, 32, dtype=torch.bfloat16)
    linear = Linear(base, None, base, None, (Adapter(a, small, 2.0, slice(0, 24), slice(0, 24), "q_proj"),))
    linear.moved()
    with torch.no_grad():
        update = 2.0 * small.double() @ a.double()
        for found, wanted in ((project(linear, x), x.double() @ update.t()), (project_back(linear, d_y), d_y.double() @ update)):
            assert 1e-4 < (found.double() - wanted).norm() / wanted.norm() < 0.01
        ones = torch.ones(24, 32, dtype=torch.bfloat16)
        assert torch.equal((ones.float() + update.float()).bfloat16(), ones), "merging loses it"


def test_generation_scores_and_states(toy_folder: Any) -> None:
    folder = toy_folder("qwen2")
    engine, exact = low(folder), load_engine(folder, SPEC, Execution(engine="fast"), 0)
    rows = BATCHES["tree"]()
    ours, wanted = (np.concatenate(e.logprobs(rows)) for e in (engine, exact))
    assert 1e-4 < np.linalg.norm(ours - wanted) / np.linalg.norm(wanted) < 0.01
    prompts = [s.tokens for s in rows[:3]]
    assert [len(c.tokens) for c in engine.sample(prompts, Sampling(max_new_tokens=5))] == [5, 5, 5]
    assert {k: v.dtype for k, v in engine.state().items() if torch.is_tensor(v)} == {
        k: v.dtype for k, v in exact.state().items() if torch.is_tensor(v)
    }


def test_the_reference_refuses(toy_folder: Any) -> None:
    with pytest.raises(EngineRefused, match="float32 or float64"):
        load_engine(toy_folder("llama"), SPEC, Execution(engine="reference"), 0, dtype="bfloat16")
