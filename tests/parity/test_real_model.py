"""The real embedded model in float32: step-0 gradients, tree log-probabilities and greedy tokens against the reference.

Skips, visibly, where the converted model is not in the cache (`luthier models pull smollm2-135m-instruct` puts it there).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hard_batches import as_batch
from luthier.core.errors import LuthierError
from luthier.core.execution import Execution
from luthier.engine.contract import Sampling
from luthier.engine.lora import LoRASpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from toys import relative_errors, sequence


@pytest.fixture(scope="module")
def folder() -> Path:
    from luthier.engine.models.resolve import resolve

    try:
        return Path(resolve("smollm2-135m-instruct", allow_network=False).folder)
    except LuthierError as err:
        pytest.skip(f"the embedded model is not in the cache: {err}")


def engines(folder: Path, spec: LoRASpec | None) -> tuple[Any, Any]:
    reference, fast = (load_engine(folder, spec, Execution(engine=kind), 0) for kind in ("reference", "fast"))  # type: ignore[arg-type]
    return reference, fast


def rows(num: int) -> list[Any]:
    rng = np.random.default_rng(0)
    root = rng.integers(3, 49_152, 90).tolist()
    return [sequence(root + rng.integers(3, 49_152, 10 + 3 * i).tolist(), list(range(92, 100 + 3 * i))) for i in range(num)]


@pytest.mark.slow
def test_first_gradients_in_float32(folder: Path) -> None:
    import torch

    reference, fast = engines(folder, LoRASpec(16, 32.0))
    state = reference.state()
    generator = torch.Generator().manual_seed(0)
    for name in sorted(state):
        if "lora_B" in name:
            state[name] = torch.randn(state[name].shape, generator=generator) * 0.01
    for engine in (reference, fast):
        engine.load_state(state)
    slow, quick = (e.forward_backward(as_batch(rows(4)), SFT()) for e in (reference, fast))
    assert quick.loss == pytest.approx(slow.loss, rel=1e-5)
    assert quick.unique_tokens < quick.as_if_separate_tokens
    found, wanted = fast.gradients(), reference.gradients()
    whole = torch.cat([g.flatten() for g in wanted.values()])
    apart = torch.cat([(found[n] - g).flatten() for n, g in wanted.items()])
    assert float(apart.norm() / whole.norm()) < 1e-5
    assert max(relative_errors(found, wanted).values()) < 1e-4


@pytest.mark.slow
def test_tree_logprobs_and_greedy_tokens(folder: Path) -> None:
    reference, fast = engines(folder, None)
    for slow, quick in zip(reference.logprobs(rows(4)), fast.logprobs(rows(4)), strict=True):
        assert quick == pytest.approx(slow, abs=2e-3)
    prompts = [s.tokens for s in rows(3)]
    assert fast.sample(prompts, Sampling(max_new_tokens=8)) == reference.sample(prompts, Sampling(max_new_tokens=8))


def test_the_model_loads_in_well_under_two_seconds(folder: Path) -> None:
    load_engine(folder, None, Execution(engine="fast"), 0)
    start = time.perf_counter()
    load_engine(folder, LoRASpec(16, 32.0), Execution(engine="fast"), 0)
    assert time.perf_counter() - start < 2.0
