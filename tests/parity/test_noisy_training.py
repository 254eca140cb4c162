"""Training under noise: the fast engine equals PEFT with the same masks; packing, micro-batches and ranks change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import BATCHES, as_batch, deep_tree
from luthier.core.errors import EngineRefused
from luthier.engine.contract import Batch, Noise, NoiseRates
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.noise import token_noise
from luthier.parts.losses.sft import SFT
from luthier.pipeline.workspace import Workspace
from toy_project import write_toy
from toys import relative_errors, toy_engine

SPEC = LoRASpec(rank=4, alpha=8.0)
LIMIT = 1e-10
RATES = {
    "lora": NoiseRates(lora=0.3),
    "dropout": NoiseRates(dropout=0.2),
    "embedding": NoiseRates(embedding=5.0),
    "all": NoiseRates(dropout=0.2, lora=0.3, embedding=5.0),
    "shared": NoiseRates(dropout=0.2, lora=0.3, shared_masks=True),
}


def noisy(batch: Batch, rates: NoiseRates, epoch: int = 1) -> Batch:
    return replace(batch, noise=Noise(rates, 3, epoch, tuple(range(7, 7 + len(batch.sequences)))))


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize(
    ("family", "batch"),
    [
        ("llama", "single"),
        ("llama-tied", "packed"),
        ("qwen2", "tree"),
        ("qwen3", "tree"),
        ("gemma2", "tree"),
        ("gemma3", "tree"),
        ("phi3", "packed"),
    ],
)
def test_every_gradient_equals_the_reference(toy_folder: Any, family: str, batch: str, rates: str) -> None:
    reference, fast = (toy_engine(toy_folder(family), kind, SPEC) for kind in ("reference", "fast"))
    given = noisy(as_batch(BATCHES[batch]()), RATES[rates])
    slow, quick = reference.forward_backward(given, SFT()), fast.forward_backward(given, SFT())
    assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
    assert max(relative_errors(fast.gradients(), reference.gradients()).values()) < LIMIT
    plain = toy_engine(toy_folder(family), "fast", SPEC)
    assert plain.forward_backward(replace(given, noise=None), SFT()).loss != pytest.approx(slow.loss, rel=1e-6)


@pytest.mark.parametrize(("family", "rates"), [("gpt2", "lora"), ("gpt2", "embedding"), ("llama", "all"), ("llama", "shared")])
def test_the_generic_engine_equals_the_reference(toy_folder: Any, family: str, rates: str) -> None:
    reference, generic = (toy_engine(toy_folder(family), kind, SPEC) for kind in ("reference", "generic"))
    given = noisy(as_batch(deep_tree()), RATES[rates])
    slow, quick = reference.forward_backward(given, SFT()), generic.forward_backward(given, SFT())
    assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
    assert max(relative_errors(generic.gradients(), reference.gradients()).values()) < LIMIT
    bent = [engine.forward_backward(given, Bent()).loss for engine in (reference, generic)]
    assert bent[1] == pytest.approx(bent[0], rel=1e-12)


@pytest.mark.parametrize("kind", ["generic", "reference"])
def test_dropout_without_a_place_for_it_is_refused(toy_folder: Any, kind: str) -> None:
    with pytest.raises(EngineRefused, match="layers with self_attn and mlp, got gpt2"):
        toy_engine(toy_folder("gpt2"), kind, SPEC).forward_backward(noisy(as_batch(deep_tree()), RATES["dropout"]), SFT())


class Bent:
    """A loss that is not linear."""

    needs = frozenset({"logprobs"})
    linear = False

    def coefficients(self, weights_N: Any) -> Any:
        raise AssertionError("not linear")

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any) -> Any:
        return (weights_N * logprobs_N**2).sum()


@pytest.mark.parametrize("loss", [SFT(label_smoothing=0.1), Bent()], ids=["smoothed", "not-linear"])
@pytest.mark.parametrize("rates", ["all", "shared"])
@pytest.mark.parametrize("budget", [64, 300])
def test_micro_batches_change_nothing(toy_folder: Any, loss: Any, rates: str, budget: int) -> None:
    whole, small = toy_engine(toy_folder("llama"), "fast", SPEC), toy_engine(toy_folder("llama"), "fast", SPEC, budget=budget)
    given = noisy(as_batch(deep_tree()), RATES[rates])
    assert small.forward_backward(given, loss).loss == pytest.approx(whole.forward_backward(given, loss).loss, rel=1e-12)
    assert max(relative_errors(small.gradients(), whole.gradients()).values()) < LIMIT


@pytest.mark.parametrize("rates", ["all", "shared"])
def test_the_order_and_the_parts_of_a_step_change_nothing(toy_folder: Any, rates: str) -> None:
    given = noisy(as_batch(deep_tree()), RATES[rates])
    whole, parts = (toy_engine(toy_folder("llama"), "fast", SPEC) for _ in range(2))
    whole.forward_backward(given, SFT())
    order = np.random.default_rng(0).permutation(len(given.sequences))
    for numbers in (order[:4], order[4:5], order[5:]):
        parts.forward_backward(given.part(numbers.tolist()), SFT())
    assert max(relative_errors(parts.gradients(), whole.gradients()).values()) < LIMIT


def test_rows_share_nothing_unless_their_masks_are_shared(toy_folder: Any) -> None:
    given = as_batch(deep_tree())
    tokens = {
        name: toy_engine(toy_folder("llama"), "fast", SPEC).forward_backward(noisy(given, RATES[name]), SFT()).unique_tokens
        for name in ("lora", "shared")
    }
    plain = toy_engine(toy_folder("llama"), "fast", SPEC).forward_backward(given, SFT()).unique_tokens
    assert tokens["shared"] == plain
    assert tokens["lora"] > 2 * plain


def test_recomputed_layers_see_the_same_noise(toy_folder: Any) -> None:
    whole, again = (toy_engine(toy_folder("llama"), "fast", SPEC) for _ in range(2))
    again._room = type("Tight", (), {"recomputed_layers": lambda self, rows: 2, "under": lambda self, noise: self})()
    given = noisy(as_batch(deep_tree()), RATES["all"])
    for engine in (whole, again):
        engine.forward_backward(given, SFT())
    assert again.recomputed_layers == 2
    assert all(torch.equal(g, again.gradients()[name]) for name, g in whole.gradients().items())


def test_epochs_differ_and_evaluation_has_no_noise(toy_folder: Any) -> None:
    for kind in ("fast", "reference"):
        engine, given = toy_engine(toy_folder("llama"), kind, SPEC), as_batch(deep_tree()[:3])
        before = engine.logprobs(list(given.sequences))
        losses = [engine.forward_backward(noisy(given, RATES["all"], epoch), SFT()).loss for epoch in (1, 2, 1)]
        assert losses[0] == losses[2] != losses[1]
        assert all(np.array_equal(a, b) for a, b in zip(before, engine.logprobs(list(given.sequences)), strict=True))


def test_lora_dropout_is_pefts_own(toy_folder: Any) -> None:
    """PEFT's layer with torch's dropout in the place of ours, made to give the very mask that our keys give."""
    engine, rows = toy_engine(toy_folder("llama"), "reference", SPEC), deep_tree()[:1]
    given = noisy(as_batch(rows), RATES["lora"])
    wanted = engine.forward_backward(given, SFT()).loss
    plain = toy_engine(toy_folder("llama"), "reference", SPEC)
    assert given.noise is not None
    one = token_noise(given.noise, [rows[0].tokens], 48)[0]
    changed = 0
    for name, module in plain._model.named_modules():
        if hasattr(module, "lora_dropout"):
            mask = torch.cat([f for _, f in one.factors(0.3, name, module.in_features, torch.float64)])
            module.lora_dropout["default"].register_forward_hook(lambda m, args, out, mask=mask: out * mask)
            changed += 1
    assert changed == 14
    assert plain.forward_backward(as_batch(rows), SFT()).loss == pytest.approx(wanted, rel=1e-13)


def test_products_in_bfloat16_are_as_near_with_noise_as_without(toy_folder: Any) -> None:
    given = as_batch(deep_tree())
    errors = []
    for batch in (given, noisy(given, RATES["all"])):
        exact, low = toy_engine(toy_folder("llama"), "fast", SPEC), toy_engine(toy_folder("llama"), "fast", SPEC, "bfloat16")
        for engine in (exact, low):
            engine.forward_backward(batch, SFT())
        wanted, found = (torch.cat([g.double().flatten() for g in e.gradients().values()]) for e in (exact, low))
        errors.append(float((found - wanted).norm() / wanted.norm()))
    assert 1e-4 < errors[1] < 1.5 * errors[0]


def test_an_engine_keeps_to_its_rates(toy_folder: Any) -> None:
    engine, given = toy_engine(toy_folder("llama"), "reference", SPEC), as_batch(deep_tree()[:1])
    engine.forward_backward(noisy(given, RATES["lora"]), SFT())
    with pytest.raises(EngineRefused, match="keeps to the noise"):
        engine.forward_backward(noisy(given, RATES["dropout"]), SFT())


def test_lora_dropout_needs_lora(toy_folder: Any) -> None:
    from luthier.engine.reference.noise import ModelNoise

    with pytest.raises(EngineRefused, match="of LoRA's kind"):
        ModelNoise(toy_engine(toy_folder("llama"), "reference", None)._model, RATES["lora"])


NOISY = (
    "train.method.dropout=0.1",
    "train.regularisation={dropout: 0.1, neftune_alpha: 5.0, label_smoothing: 0.1, ema: 0.9}",
    "train.epochs=1",
)


def test_a_noisy_run_is_the_same_for_any_micro_batch_and_after_a_stop(tmp_path: Path, learner_base: Path) -> None:
    from luthier.core.events import Metric
    from luthier.core.store import Interrupted

    def build(name: str, *more: str, stop_at: int | None = None) -> Any:
        file = tmp_path / name / "luthier.yaml"
        workspace, seen = Workspace.open(file if file.exists() else write_toy(tmp_path / name, learner_base), (*NOISY, *more)), [0]

        def watch(event: Any) -> None:
            if isinstance(event, Metric) and event.name == "loss":
                seen[0] = event.step

        stop = (lambda: seen[0] >= stop_at) if stop_at else (lambda: False)
        return workspace.store.build(workspace.graph.train, workspace.project.execution, watch, stop)

    def loss(built: Any) -> list[str]:
        return [line for line in (built.path / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]

    with pytest.raises(Interrupted):
        build("stopped", stop_at=3)
    straight, resumed = build("straight"), build("stopped")
    assert straight.result.adapter_sha256 == resumed.result.adapter_sha256
    assert loss(straight) == loss(resumed)
    small = build("small", "execution.micro_batch_tokens=64")
    assert small.result.best["validation/loss"] == pytest.approx(straight.result.best["validation/loss"], rel=1e-3)
    plain = build("plain", "train.method.dropout=0")
    assert plain.result.adapter_sha256 != straight.result.adapter_sha256
