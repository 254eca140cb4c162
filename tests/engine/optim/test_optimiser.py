"""Schedules against transformers'; AdamW, clipping and decay against torch by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from luthier.engine.contract import NonFiniteLoss
from luthier.engine.optim.config import SGD, Adafactor, Adam, AdamW, AdamW8bit, Lion, OptimizerConfig, RMSprop, Schedule
from luthier.engine.optim.optimiser import Optimiser
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


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (3, 10), (10, 40)])
def test_inverse_sqrt_and_wsd_equal_transformers(warmup: int, total: int) -> None:
    from transformers import get_inverse_sqrt_schedule, get_wsd_schedule

    def rates(scheduler: Any, optimiser: Any) -> list[float]:
        out = []
        for _ in range(total):
            out.append(scheduler.get_last_lr()[0])
            optimiser.step()
            scheduler.step()
        return out

    one, two = (torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2))
    ours = [factor(Schedule(kind="inverse_sqrt", warmup_steps=warmup), s, total) for s in range(total)]
    assert ours == pytest.approx(rates(get_inverse_sqrt_schedule(one, warmup), one), abs=1e-12)
    decay = math.ceil(0.3 * total)
    wsd = get_wsd_schedule(two, warmup, decay, num_training_steps=total, decay_type="linear", min_lr_ratio=0.1)
    ours = [factor(Schedule(kind="wsd", warmup_steps=warmup, decay_ratio=0.3, min_ratio=0.1), s, total) for s in range(total)]
    assert ours[warmup:] == pytest.approx(rates(wsd, two)[warmup:], abs=1e-12)  # its warm-up starts at min_lr_ratio, ours at 0


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


ALL: tuple[OptimizerConfig, ...] = (
    AdamW(weight_decay=0.1),
    AdamW8bit(),
    Adam(weight_decay=0.1),
    SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
    RMSprop(momentum=0.5),
    Adafactor(weight_decay=0.1),
    Lion(weight_decay=0.1),
)


@pytest.mark.parametrize("config", ALL, ids=lambda c: c.kind)
def test_a_resume_takes_the_same_steps(config: OptimizerConfig) -> None:
    whole, first, second = big(), big(), big()
    straight, before = Optimiser(whole, config), Optimiser(first, config)
    for step in range(6):
        give_gradients(whole, step, 1.0)
        straight.step(0.01)
    for step in range(3):
        give_gradients(first, step, 1.0)
        before.step(0.01)
    after = Optimiser(second, config)
    after.load_state(before.state())
    for k, p in second.items():
        p.data.copy_(first[k].data)
    for step in range(3, 6):
        give_gradients(second, step, 1.0)
        after.step(0.01)
    assert all(torch.equal(whole[k], second[k]) for k in whole)


@pytest.mark.parametrize("config", ALL, ids=lambda c: c.kind)
def test_every_optimiser_comes_down(config: OptimizerConfig) -> None:
    """A quadratic with its least value at 1 in every coordinate."""
    params = big()
    optimiser = Optimiser(params, config.model_copy(update={"weight_decay": 0.0, "clip_norm": None}))

    def distance() -> float:
        return sum(float(((p.detach() - 1) ** 2).sum()) for p in params.values())

    start = distance()
    for _ in range(300):
        for p in params.values():
            p.grad = p.detach() - 1
        optimiser.step(0.02)
    assert distance() < 0.02 * start


def big() -> dict[str, torch.nn.Parameter]:
    """A matrix large enough for 8-bit moments, and a vector."""
    generator = torch.Generator().manual_seed(1)
    return {
        "matrix": torch.nn.Parameter(torch.randn(64, 80, generator=generator)),
        "vector": torch.nn.Parameter(torch.randn(40, generator=generator)),
    }


@pytest.mark.parametrize(("config", "peer"), [(AdamW(weight_decay=0.3), torch.optim.AdamW), (Adam(weight_decay=0.3), torch.optim.Adam)])
def test_the_fused_update_is_torchs_to_the_bit(config: Any, peer: Any) -> None:
    """Ten steps of matrices and vectors, one of them without a gradient at first; moments under torch's names."""
    draw = torch.Generator().manual_seed(0)
    starts = {
        "matrix": torch.randn(33, 17, generator=draw),
        "other": torch.randn(5, 70, generator=draw),
        "vector": torch.randn(40, generator=draw),
    }
    ours, theirs = ({n: torch.nn.Parameter(x.clone()) for n, x in starts.items()} for _ in (0, 1))
    mine = Optimiser(ours, config.model_copy(update={"clip_norm": None}))
    groups = [{"params": [theirs["matrix"], theirs["other"]], "weight_decay": 0.3}, {"params": [theirs["vector"]], "weight_decay": 0.0}]
    other = peer(groups, lr=0.0, betas=config.betas, eps=config.eps, fused=True)
    for step in range(10):
        for name in starts:
            gradient = None if step < 3 and name == "other" else torch.randn(starts[name].shape, generator=draw)
            ours[name].grad, theirs[name].grad = gradient if gradient is None else gradient.clone(), gradient
        for group in other.param_groups:
            group["lr"] = 0.01 * (step + 1)
        mine.step(0.01 * (step + 1))
        other.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in starts)
    for name in starts:
        for moment, value in other.state[theirs[name]].items():
            assert torch.equal(mine.state()[f"{config.kind}.{moment}.{name}"], value)


def test_lion_equals_the_formula_and_bitsandbytes() -> None:
    import bitsandbytes

    ours, plain, theirs = parameters(), parameters(), parameters()
    optimiser = Optimiser(ours, Lion(weight_decay=0.2, clip_norm=None))
    peer = bitsandbytes.optim.Lion([{"params": [theirs["matrix"]], "weight_decay": 0.2}, {"params": [theirs["vector"]]}], lr=0.01)
    moments = {k: torch.zeros_like(p) for k, p in plain.items()}
    for step in range(5):
        for params in (ours, plain, theirs):
            give_gradients(params, step, 1.0)
        optimiser.step(0.01)
        peer.step()
        for k, p in plain.items():
            decay = 0.2 if k == "matrix" else 0.0
            update = torch.sign(0.9 * moments[k] + 0.1 * p.grad)  # type: ignore[operator]
            p.data -= 0.01 * (update + decay * p.data)
            moments[k] = 0.99 * moments[k] + 0.01 * p.grad  # type: ignore[operator]
            torch.testing.assert_close(ours[k].data, p.data, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(ours[k].data, theirs[k].data, rtol=1e-6, atol=1e-6)


def test_eight_bits_stay_near_thirty_two() -> None:
    exact, rough = big(), big()
    pair = Optimiser(exact, AdamW()), Optimiser(rough, AdamW8bit())
    for step in range(20):
        give_gradients(exact, step, 1.0)
        give_gradients(rough, step, 1.0)
        for optimiser in pair:
            optimiser.step(0.01)
    moved = (exact["matrix"] - big()["matrix"]).norm()
    assert float((exact["matrix"] - rough["matrix"]).norm() / moved) < 0.05
    assert rough["matrix"].numel() >= 4096
    assert pair[1].state()["adamw_8bit.state1.matrix"].dtype == torch.uint8


def test_l1_is_the_gradient_of_its_penalty() -> None:
    ours, plain = parameters(), parameters()
    give_gradients(ours, 0, 1.0)
    give_gradients(plain, 0, 1.0)
    (0.3 * sum(p.abs().sum() for p in plain.values())).backward()  # type: ignore[union-attr]
    optimiser = Optimiser(ours, SGD(momentum=0.0, l1=0.3, clip_norm=None))
    optimiser.step(0.1)
    for k, p in plain.items():
        torch.testing.assert_close(ours[k].data, p.data - 0.1 * p.grad)  # type: ignore[operator]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_what_decays_is_what_decays_in_transformers(family: str) -> None:
    """Over every weight of a model, biases and norms included."""
    from transformers import AutoModelForCausalLM, Trainer

    from toys import toy_config

    model = AutoModelForCausalLM.from_config(toy_config(family))
    optimiser = Optimiser(dict(model.named_parameters()), AdamW(weight_decay=0.1))
    decayed = {id(p) for g in optimiser._inner.param_groups if g["weight_decay"] for p in g["params"]}
    theirs = Trainer.get_decay_parameter_names(None, model)  # type: ignore[arg-type]
    assert {n for n, p in model.named_parameters() if id(p) in decayed} == set(theirs)
    assert any("norm" in n for n, p in model.named_parameters() if id(p) not in decayed)
