"""The SFT loss with smoothed labels: against torch's own, against finite differences, and through both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hard_batches import BATCHES, as_batch, deep_tree
from luthier.core.errors import EngineRefused
from luthier.engine.contract import Batch
from luthier.engine.kernels.head import Head, head_backward
from luthier.engine.methods.lora import LoRASpec
from luthier.parts.losses.sft import SFT
from toys import relative_errors, save_toy, toy_engine

SPEC = LoRASpec(rank=4, alpha=8.0)
SMOOTH = SFT(label_smoothing=0.1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("toys") / "llama", "llama")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_value_and_gradient_equal_cross_entropy_of_torch(smoothing: float) -> None:
    """Hidden rows with several targets each; the gradient that the head forms, against torch's autograd."""
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(5, 6, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(17, 6, dtype=torch.float64, generator=generator)
    row, token = torch.tensor([0, 0, 1, 3, 3, 4]), torch.tensor([2, 5, 16, 0, 0, 9])
    weights, sequence = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.25, 3.0], dtype=torch.float64), torch.zeros(6, dtype=torch.int64)
    each = torch.nn.functional.cross_entropy((hidden @ weight.t())[row], token, reduction="none", label_smoothing=smoothing)
    (wanted,) = torch.autograd.grad((weights * each).sum(), hidden)
    loss = SFT(label_smoothing=smoothing)
    with torch.no_grad():
        of_mean = loss.mean_coefficients(weights) if smoothing else None
        logprobs, means, d_hidden = head_backward(hidden.detach(), Head(weight), row, token, loss.coefficients(weights), of_mean)
    torch.testing.assert_close(loss(logprobs, weights, sequence, means), (weights * each).sum().detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(d_hidden, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("loss", [SFT(), SMOOTH], ids=["plain", "smoothed"])
def test_the_gradient_equals_finite_differences(toy: Path, loss: SFT) -> None:
    engine, batch = toy_engine(toy, "fast", SPEC), as_batch(deep_tree())
    engine.forward_backward(batch, loss)
    found, start = engine.gradients(), engine.state()

    def value(name: str, at: tuple[int, int], by: float) -> float:
        moved = {**start, f"adapter.{name}": start[f"adapter.{name}"].clone()}
        moved[f"adapter.{name}"][at] += by
        engine.load_state(moved)
        return engine.forward_backward(batch, loss).loss

    for name in sorted(found)[::9]:
        at = (0, found[name].shape[1] - 1)
        difference = (value(name, at, 1e-5) - value(name, at, -1e-5)) / 2e-5
        assert float(found[name][at]) == pytest.approx(difference, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("batch", BATCHES)
def test_smoothed_gradients_equal_the_reference(toy: Path, batch: str) -> None:
    reference, given = toy_engine(toy, "reference", SPEC), as_batch(BATCHES[batch]())
    slow = reference.forward_backward(given, SMOOTH)
    for budget in (64, 4096):
        fast = toy_engine(toy, "fast", SPEC, budget=budget)
        assert fast.forward_backward(given, SMOOTH).loss == pytest.approx(slow.loss, rel=1e-12)
        assert max(relative_errors(fast.gradients(), reference.gradients()).values()) < 1e-10


def test_smoothing_is_invariant_to_uneven_accumulation(toy: Path) -> None:
    given, parts = as_batch(deep_tree()), toy_engine(toy, "fast", SPEC)
    whole = toy_engine(toy, "fast", SPEC)
    total = whole.forward_backward(given, SMOOTH).loss
    pieces = (given.sequences[:3], given.sequences[3:])
    assert sum(parts.forward_backward(Batch(p, given.normaliser), SMOOTH).loss for p in pieces) == pytest.approx(total, rel=1e-12)
    assert max(relative_errors(parts.gradients(), whole.gradients()).values()) < 1e-10


def test_smoothing_gives_a_bold_model_a_reason_to_doubt(toy: Path) -> None:
    """At a one-hot answer the plain loss has nothing left to gain; the smoothed one has."""
    logits = torch.tensor([[30.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    logprobs = logits.log_softmax(-1)
    one = torch.ones(1, dtype=torch.float64)
    plain = SFT()(logprobs[:, 0], one, torch.zeros(1, dtype=torch.int64))
    smooth = SMOOTH(logprobs[:, 0], one, torch.zeros(1, dtype=torch.int64), logprobs.mean(-1))
    assert float(plain) < 1e-9
    assert float(smooth) == pytest.approx(0.1 * 0.75 * 30, rel=1e-6)


def test_means_are_for_linear_losses(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SFT, "linear", property(lambda self: False))
    for kind in ("fast", "reference"):
        with pytest.raises(EngineRefused, match="linear"):
            toy_engine(toy, kind, SPEC).forward_backward(as_batch(deep_tree()), SMOOTH)


def test_evaluation_sees_plain_log_probabilities(toy: Path) -> None:
    engine = toy_engine(toy, "fast", SPEC)
    before = engine.logprobs(deep_tree())
    engine.forward_backward(as_batch(deep_tree()), SMOOTH)
    assert all(np.array_equal(a, b) for a, b in zip(before, engine.logprobs(deep_tree()), strict=True))
