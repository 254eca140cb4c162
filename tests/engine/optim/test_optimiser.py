"""Schedules against transformers'; AdamW, clipping and decay against torch by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from luthier.engine.contract import NonFiniteLoss
from luthier.engine.optim.adamw import Optimiser
from luthier.engine.optim.config import AdamW, Schedule
from luthier.engine.optim.schedules import factor, warmup_steps


def theirs(kind: str, warmup: int, total: int) -> list[float]:
    from transformers import get_scheduler

    dummy = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = {"constant": "constant_with_warmup"}.get(kind, kind)
    scheduler = get_scheduler(name, dummy, num_warmup_steps=warmup, num_training_steps=total)
    out = []
    for _ in range(total):
        out.append(scheduler.get_last_lr()[0])
        dummy.step()
        scheduler.step()
    return out


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (0, 10), (3, 10), (10, 10), (1, 37)])
def test_schedules_equal_transformers(kind: Any, warmup: int, total: int) -> None:
    schedule = Schedule(kind=kind, warmup_steps=warmup)
    ours = [factor(schedule, step, total) for step in range(total)]
    assert ours == pytest.approx(theirs(kind, warmup, total), abs=1e-12)


def test_least_rate_and_ratio() -> None:
    schedule = Schedule(kind="cosine", warmup_ratio=0.05, min_ratio=0.1)
    assert warmup_steps(schedule, 30) == 2
    assert factor(schedule, 30, 30) == pytest.approx(0.1)
    assert factor(schedule, 99, 30) == pytest.approx(0.1)
    assert factor(schedule, 16, 30) == pytest.approx(0.1 + 0.9 * 0.5)


def parameters() -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.nn.Parameter(torch.randn(5, 3, generator=generator)),
        "vector": torch.nn.Parameter(torch.randn(4, generator=generator)),
    }


def give_gradients(params: dict[str, torch.nn.Parameter], step: int, size: float) -> None:
    generator = torch.Generator().manual_seed(step)
    for p in params.values():
        p.grad = torch.randn(p.shape, generator=generator) * size


@pytest.mark.parametrize("size", [0.01, 10.0])
def test_steps_equal_the_formula(size: float) -> None:
    ours, plain = parameters(), parameters()
    optimiser = Optimiser(ours, AdamW(weight_decay=0.2, clip_norm=1.0))
    moments = {k: (torch.zeros_like(p), torch.zeros_like(p)) for k, p in plain.items()}
    for step in range(1, 6):
        give_gradients(ours, step, size)
        give_gradients(plain, step, size)
        grads = {k: p.grad for k, p in plain.items()}
        norm = torch.sqrt(sum((g**2).sum() for g in grads.values()))  # type: ignore[operator,arg-type]
        assert optimiser.step(0.05) == pytest.approx(float(norm), rel=1e-6)
        for k, p in plain.items():
            g = p.grad * min(1.0, float(1.0 / (norm + 1e-6)))  # type: ignore[operator]
            m, v = moments[k]
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            update = (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
            decay = 0.2 if k == "matrix" else 0.0
            p.data.mul_(1 - 0.05 * decay).sub_(0.05 * update)
            torch.testing.assert_close(ours[k].data, p.data, rtol=1e-5, atol=1e-6)
        assert not any(p.grad.any() for p in ours.values())  # type: ignore[union-attr]


def test_a_bad_gradient_changes_nothing() -> None:
    ours = parameters()
    optimiser = Optimiser(ours, AdamW())
    before = {k: p.detach().clone() for k, p in ours.items()}
    for bad in (float("nan"), float("inf")):
        give_gradients(ours, 0, 1.0)
        ours["vector"].grad[2] = bad  # type: ignore[index]
        with pytest.raises(NonFiniteLoss, match="gradient norm"):
            optimiser.step(0.1)
    assert all(torch.equal(before[k], p) for k, p in ours.items())
    assert optimiser.state() == {}
