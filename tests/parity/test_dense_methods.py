"""DoRA, IA3, BitFit, upper layers and LoRA on some on the fast engine: the gradients of the reference, the same trained weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import BATCHES, as_batch, deep_tree, packed
from luthier.core.errors import EngineRefused
from luthier.core.execution import Execution
from luthier.engine.methods.bitfit import BitFitSpec
from luthier.engine.methods.dora import DoRASpec
from luthier.engine.methods.ia3 import IA3Spec
from luthier.engine.methods.last_layers import LastLayersSpec
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from toys import FAMILIES, relative_errors

LIMIT = 1e-10
ELSEWHERE = {"own biases": BitFitSpec(), "ia3-fused": IA3Spec(("qkv_proj",), ("gate_up_proj", "down_proj"))}
"""For models that have what they train."""
SPECS = {
    "dora": DoRASpec(4, 8.0),
    "dora-some": DoRASpec(3, 5.0, ("v_proj", "down_proj"), True),
    "ia3": IA3Spec(),
    "ia3-some": IA3Spec(("q_proj", "o_proj"), ("up_proj", "down_proj")),
    "biases": BitFitSpec(create=True),
    "lora-above": LoRASpec(3, 5.0, ("model.layers.1.*",)),
    "one": LastLayersSpec(1),
    "two": LastLayersSpec(2),
}
CASES = [(family, "dora") for family in FAMILIES]
CASES += [(family, "ia3") for family in ("mistral-window", "qwen2", "gemma3")]
CASES += [(family, "biases") for family in ("qwen2", "qwen3", "gemma2", "phi3-partial")]
CASES += [("qwen2", "own biases"), ("qwen2", "ia3-some"), ("phi3", "ia3-fused")]
CASES += [("llama", name) for name in SPECS] + [("llama-tied", "two"), ("mistral", "one")]


def moved(folder: Any, spec: Any, kind: Any, dtype: Any = "float64", budget: int = 4096) -> Any:
    """An engine with every trained tensor away from its start, the same in both engines."""
    engine = load_engine(folder, spec, Execution(engine=kind, micro_batch_tokens=budget), 3, None, dtype)
    generator, state = torch.Generator().manual_seed(5), engine.state()
    for name in sorted(state):
        state[name] = state[name] + (0.1 * torch.randn(state[name].shape, generator=generator)).to(state[name].dtype)
    engine.load_state(state)
    return engine


@pytest.mark.parametrize(("family", "name"), CASES)
@pytest.mark.parametrize("batch", BATCHES)
def test_every_gradient_equals_the_reference(toy_folder: Any, family: str, name: str, batch: str) -> None:
    spec = (SPECS | ELSEWHERE)[name]
    reference, fast = (moved(toy_folder(family), spec, kind) for kind in ("reference", "fast"))
    given = as_batch(BATCHES[batch]())
    slow, quick = reference.forward_backward(given, SFT()), fast.forward_backward(given, SFT())
    assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
    errors = relative_errors(fast.gradients(), reference.gradients())
    assert errors.keys() == reference.gradients().keys()
    assert max(errors.values()) < LIMIT


@pytest.mark.parametrize("name", SPECS)
def test_micro_batches_change_nothing(toy_folder: Any, name: str) -> None:
    whole, cut = (moved(toy_folder("llama"), SPECS[name], "fast", budget=budget) for budget in (4096, 64))
    given = as_batch([*deep_tree(), *packed()])
    whole.forward_backward(given, SFT())
    cut.forward_backward(given, SFT())
    assert max(relative_errors(cut.gradients(), whole.gradients()).values()) < LIMIT


@pytest.mark.parametrize("name", SPECS)
def test_training_gives_the_weights_of_the_reference(toy_folder: Any, name: str) -> None:
    engines = [load_engine(toy_folder("llama"), SPECS[name], Execution(engine=kind), 3, dtype="float64") for kind in ("reference", "fast")]  # type: ignore[arg-type]
    first, second = (engine.state() for engine in engines)
    assert all(torch.allclose(first[k], second[k], rtol=1e-14) for k in first)
    for engine in engines:
        for _ in range(5):
            engine.forward_backward(as_batch(packed()), SFT())
            engine.optim_step(1e-2)
    slow, quick = (engine.state() for engine in engines)
    assert slow.keys() == quick.keys()
    for key in (k for k in slow if k.startswith("adapter.")):
        assert torch.allclose(slow[key], quick[key], atol=1e-9), key
    for ours, theirs in zip(engines[1].logprobs(packed()), engines[0].logprobs(packed()), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-8)


def test_nothing_below_the_trained_layers_is_kept(toy_folder: Any) -> None:
    from luthier.engine.fast.decoder import Keep
    from luthier.engine.trees.pack import build_pack

    engine = moved(toy_folder("llama"), LastLayersSpec(1), "fast")
    pack = build_pack(as_batch(packed()).sequences, [0, 1, 2])
    with torch.no_grad():
        run = engine._decoder.forward(pack, np.unique(pack.targets.row), Keep(backward=True))
    assert [state is None for state in run.saved] == [True, False]


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_the_last_layers_of_other_families_are_refused(toy_folder: Any, family: str) -> None:
    with pytest.raises(EngineRefused, match="last_layers"):
        load_engine(toy_folder(family), LastLayersSpec(1), Execution(engine="fast"), 0)


@pytest.mark.parametrize(("family", "name"), sorted({(family, name) for family, name in CASES}))
def test_what_is_counted_is_what_is_trained(toy_folder: Any, family: str, name: str) -> None:
    """The memory model's trained values and lowest layer against the engine itself."""
    engine = load_engine(toy_folder(family), (SPECS | ELSEWHERE)[name], Execution(engine="fast"), 0)
    own = engine._room.model.trains.own
    assert own is not None
    assert (own.values, own.first) == (engine.num_trainable, engine._decoder.lowest_trainable)
    found = engine.forecast(packed(), [np.arange(len(packed()))])
    assert found is not None
    assert found.flops > 0
