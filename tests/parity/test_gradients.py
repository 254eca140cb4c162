"""Every trainable gradient of the fast engine equals plain transformers + PEFT, one sequence at a time, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hard_batches import BATCHES, as_batch, deep_tree, packed
from luthier.engine.contract import Batch
from luthier.engine.methods.lora import LoRASpec
from luthier.parts.losses.sft import SFT
from toys import FAMILIES, relative_errors, toy_engine

SPEC = LoRASpec(rank=4, alpha=8.0)
LIMIT = 1e-10


class PairLoss:
    """A loss that is not linear: -log sigmoid of differences between neighbouring sequences' log-probabilities."""

    needs = frozenset({"logprobs"})
    linear = False

    def coefficients(self, weights_N: Any) -> Any:
        raise AssertionError("asked for the coefficients of a loss that is not linear")

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any) -> Any:
        total = torch.zeros(int(sequence_N.max()) + 1, dtype=logprobs_N.dtype).index_add(0, sequence_N, logprobs_N * weights_N)
        return -torch.nn.functional.logsigmoid(0.1 * (total[1:] - total[:-1])).sum() + 0.01 * (logprobs_N**2).sum()


def both(folder: Any, spec: LoRASpec, budget: int = 4096) -> tuple[Any, Any]:
    return toy_engine(folder, "reference", spec), toy_engine(folder, "fast", spec, budget=budget)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", BATCHES)
def test_every_gradient_equals_the_reference(toy_folder: Any, family: str, batch: str) -> None:
    reference, fast = both(toy_folder(family), SPEC)
    given = as_batch(BATCHES[batch]())
    slow, quick = reference.forward_backward(given, SFT()), fast.forward_backward(given, SFT())
    assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
    assert quick.num_targets == slow.num_targets
    errors = relative_errors(fast.gradients(), reference.gradients())
    assert len(errors) == 2 * 2 * (4 if family.startswith("phi3") else 7)
    assert max(errors.values()) < LIMIT


def test_the_tree_computes_fewer_tokens(toy_folder: Any) -> None:
    fast = toy_engine(toy_folder("llama"), "fast", SPEC)
    out = fast.forward_backward(as_batch(deep_tree()), SFT())
    assert out.unique_tokens < 0.4 * out.as_if_separate_tokens


@pytest.mark.parametrize("loss", [SFT(), PairLoss()], ids=["linear", "not-linear"])
@pytest.mark.parametrize("budget", [64, 300, 4096])
def test_micro_batches_change_nothing(toy_folder: Any, loss: Any, budget: int) -> None:
    reference, fast = both(toy_folder("llama"), SPEC, budget)
    given = as_batch(deep_tree())
    slow, quick = reference.forward_backward(given, loss), fast.forward_backward(given, loss)
    assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
    assert max(relative_errors(fast.gradients(), reference.gradients()).values()) < LIMIT


def test_uneven_accumulation_equals_one_batch(toy_folder: Any) -> None:
    reference, fast = both(toy_folder("llama-tied"), SPEC)
    given = as_batch([*deep_tree(), *packed()])
    reference.forward_backward(given, SFT())
    for part in (given.sequences[:1], given.sequences[1:12], given.sequences[12:]):
        fast.forward_backward(Batch(part, given.normaliser), SFT())
    assert max(relative_errors(fast.gradients(), reference.gradients()).values()) < LIMIT


@pytest.mark.parametrize("targets", [("q_proj",), ("v_proj", "down_proj"), ("gate_proj", "o_proj"), ("k_proj", "up_proj", "q_proj")])
def test_any_subset_of_layers(toy_folder: Any, targets: tuple[str, ...]) -> None:
    spec = LoRASpec(rank=3, alpha=5.0, targets=targets, rslora=True)
    reference, fast = both(toy_folder("llama"), spec)
    given = as_batch(deep_tree())
    reference.forward_backward(given, SFT())
    fast.forward_backward(given, SFT())
    errors = relative_errors(fast.gradients(), reference.gradients())
    assert len(errors) == 2 * 2 * len(targets)
    assert max(errors.values()) < LIMIT


def test_logprobs_and_embeddings_equal_the_reference(toy_folder: Any) -> None:
    for family in FAMILIES:
        reference = toy_engine(toy_folder(family), "reference", SPEC)
        for budget in (64, 4096):
            fast = toy_engine(toy_folder(family), "fast", SPEC, budget=budget)
            for slow, quick in zip(reference.logprobs(deep_tree()), fast.logprobs(deep_tree()), strict=True):
                assert quick == pytest.approx(slow, abs=1e-11)
            assert fast.embed(deep_tree()) == pytest.approx(reference.embed(deep_tree()), abs=1e-6)
