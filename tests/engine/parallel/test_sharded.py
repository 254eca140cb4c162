"""Divided weights in a group of one process: tied heads and other families, and what is refused. Two processes: tests/parity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hard_batches import as_batch, deep_tree, packed
from luthier.core.config import parse_config
from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.adapter import AdapterSet, AdapterSource
from luthier.engine.contract import NonFiniteLoss
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.parallel import group
from luthier.engine.parallel.sharded import WHY, divide_weights, load_sharded
from luthier.engine.reference.load import load_model
from luthier.parts.losses.sft import SFT
from toys import relative_errors, save_toy, toy_engine

SPEC = LoRASpec(rank=4, alpha=8.0)
SHARD = Execution(nproc=2, shard=True)


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    group.join(0, 1, tmp_path_factory.mktemp("group") / "meeting")
    yield
    group.leave()


@pytest.mark.parametrize("family", ["llama-tied", "qwen3"])
def test_gradients_and_reading_equal_the_undivided_reference(tmp_path: Path, family: str) -> None:
    folder = save_toy(tmp_path / family, family)
    whole, divided = toy_engine(folder, "reference", SPEC), load_sharded(folder, SPEC, SHARD, 3, "float64")
    assert divided.refusal == WHY
    divided.load_state(whole.state())
    for _ in range(2):
        assert divided.embed(packed()) == pytest.approx(whole.embed(packed()), abs=1e-6)
        for engine in (whole, divided):
            engine.forward_backward(as_batch(deep_tree()), SFT())
        assert max(relative_errors(divided.gradients(), whole.gradients()).values()) < 1e-10
        for engine in (whole, divided):
            engine.optim_step(0.01)
    frozen = [p for p in divided._model.parameters() if not p.requires_grad]
    assert all(hasattr(p, "to_local") for p in frozen)


def test_a_loss_that_is_not_finite_leaves_nothing_behind(tmp_path: Path) -> None:
    divided = load_sharded(save_toy(tmp_path / "llama", "llama"), SPEC, SHARD, 3, "float64")
    state = divided.state()
    poisoned = next(n for n in state if "down_proj.lora_B" in n)
    divided.load_state({**state, poisoned: torch.full_like(state[poisoned], float("inf"))})
    with pytest.raises(NonFiniteLoss) as caught:
        divided.forward_backward(as_batch(deep_tree()), SFT())
    assert caught.value.sequences
    assert not any(g.any() for g in divided.gradients().values())
    divided.load_state(state)
    assert divided.forward_backward(as_batch(deep_tree()), SFT()).loss > 0


@pytest.mark.parametrize(
    ("engine", "dtype", "words"),
    [("fast", "float32", "execution.engine=reference or auto"), ("auto", "bfloat16", "float32 or float64 is wanted of divided weights")],
)
def test_what_cannot_be_divided_is_refused_with_the_reason(tmp_path: Path, engine: Any, dtype: str, words: str) -> None:
    with pytest.raises(EngineRefused, match=words):
        load_sharded(tmp_path, SPEC, SHARD.model_copy(update={"engine": engine}), 3, dtype)


def test_nothing_is_left_to_divide_where_all_is_trained(tmp_path: Path) -> None:
    model = load_model(save_toy(tmp_path / "llama", "llama"), torch.float32)
    every = AdapterSet(dict(model.named_parameters()), AdapterSource(None, (), "toy"))
    with pytest.raises(EngineRefused, match="most weights must be frozen"):
        divide_weights(model, every)


def test_one_process_has_nobody_to_divide_with() -> None:
    with pytest.raises(UserError, match="`shard` divides the weights between processes: nproc of 2 or more must be given"):
        parse_config(Execution, {"shard": True})
