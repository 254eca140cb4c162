"""Losses, gradients, steps and reading over two and three gloo processes, weights whole and divided, equal one process in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_gradients import PairLoss

from hard_batches import BATCHES, as_batch, deep_tree, packed, single
from luthier.core.errors import MachineError
from luthier.core.execution import Execution
from luthier.engine.contract import Batch, Noise, NoiseRates, NonFiniteLoss, NonFiniteOutput, Sampling
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.optim.config import AdamW
from luthier.engine.parallel.start import open_engine
from luthier.parts.losses.sft import SFT
from toys import relative_errors, save_toy, sequence, toy_engine

SPEC, LIMIT = LoRASpec(rank=4, alpha=8.0), 1e-10
MOVING = AdamW(clip_norm=1.0, weight_decay=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy llama; what its token 60 gives is not finite."""
    from safetensors.torch import load_file, save_file

    folder = save_toy(tmp_path_factory.mktemp("poisoned") / "llama", "llama")
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][60] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def start(folder: Path) -> dict[str, Any]:
    return toy_engine(folder, "reference", SPEC).state()


WHOLE = [{"engine": "fast", "nproc": n, "threads": 1, "micro_batch_tokens": 300} for n in (2, 3)]
DIVIDED = {"engine": "reference", "nproc": 2, "threads": 2, "shard": True}


@pytest.fixture(scope="module", params=[*WHOLE, DIVIDED], ids=["two", "three", "two-divided"])
def opened(folder: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    execution = Execution(**request.param)
    with open_engine(folder, SPEC, execution, 3, "float64") as engine:
        yield engine


@pytest.fixture
def several(opened: Any, start: dict[str, Any]) -> Any:
    """The engine of several processes at the start, without moments."""
    opened.use_optimiser(MOVING)
    opened.load_state(start)
    return opened


@pytest.fixture
def one(folder: Path) -> Any:
    engine = toy_engine(folder, "reference", SPEC)
    engine.use_optimiser(MOVING)
    return engine


def finite(sequences: list[Any]) -> list[Any]:
    """The same shapes without the token that is not finite."""
    return [
        sequence([int(t) % 60 for t in s.tokens], np.flatnonzero(s.weights).tolist(), s.weights[s.weights != 0].tolist()) for s in sequences
    ]


@pytest.mark.parametrize("loss", [SFT(), PairLoss()], ids=["linear", "not-linear"])
@pytest.mark.parametrize("batch", BATCHES)
def test_loss_and_every_gradient_equal_the_reference(several: Any, one: Any, batch: str, loss: Any) -> None:
    given = as_batch(finite(BATCHES[batch]()))
    slow, quick = one.forward_backward(given, loss), several.forward_backward(given, loss)
    assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
    assert (quick.num_targets, quick.as_if_separate_tokens) == (slow.num_targets, slow.as_if_separate_tokens)
    assert max(relative_errors(several.gradients(), one.gradients()).values()) < LIMIT


def test_uneven_accumulation_and_a_process_without_rows(several: Any, one: Any) -> None:
    """One sequence for all processes, then more; asking for the gradient in between changes nothing."""
    given = as_batch(finite([*deep_tree(), *packed(), *single()]))
    one.forward_backward(given, SFT())
    for part in (given.part(range(1)), given.part(range(1, 12)), given.part(range(12, len(given.sequences)))):
        several.forward_backward(part, SFT())
        several.gradients()
    assert max(relative_errors(several.gradients(), one.gradients()).values()) < LIMIT


def test_clipped_steps_equal_one_process_and_leave_equal_bytes_everywhere(several: Any, one: Any) -> None:
    for made in (deep_tree, packed, deep_tree):
        given = as_batch(finite(made()))
        for engine in (one, several):
            engine.forward_backward(given, SFT())
        slow, quick = one.optim_step(0.01), several.optim_step(0.01)
        assert slow > MOVING.clip_norm
        assert quick == pytest.approx(slow, rel=1e-10)
    state = several.state()  # refused unless all processes hold the same bytes
    wanted = one.state()
    assert set(state) == set(wanted)
    adapters = {k: v for k, v in wanted.items() if k.startswith("adapter.")}
    assert max(relative_errors({k: state[k] for k in adapters}, adapters).values()) < 1e-8


def test_noise_and_the_average_of_the_weights_are_those_of_one_process(several: Any, one: Any) -> None:
    rates = NoiseRates(dropout=0.2, lora=0.3, embedding=5.0)
    rows = finite(deep_tree())
    for engine in (one, several):
        engine.use_optimiser(MOVING, 0.9)
        for epoch in (1, 2):
            noise = Noise(rates, 3, epoch, tuple(range(len(rows))))
            engine.forward_backward(replace(as_batch(rows), noise=noise), SFT())
            engine.optim_step(0.01)
        engine.swap_average()
    for slow, quick in zip(one.logprobs(rows), several.logprobs(rows), strict=True):
        assert quick == pytest.approx(slow, abs=1e-7)
    assert {k for k in several.state() if k.startswith("ema")} == {k for k in one.state() if k.startswith("ema")}
    for engine in (one, several):
        engine.swap_average()


def test_the_same_steps_from_the_same_state_give_the_same_bytes(several: Any) -> None:
    def steps(n: int) -> None:
        for _ in range(n):
            several.forward_backward(as_batch(finite(deep_tree())), SFT())
            several.optim_step(0.01)

    steps(2)
    kept = several.state()
    steps(2)
    wanted = several.state()
    several.load_state(kept)
    steps(2)
    again = several.state()
    assert again.keys() == wanted.keys()
    assert all(torch.equal(torch.as_tensor(again[k]), torch.as_tensor(wanted[k])) for k in wanted)


def test_reading_is_shared_out_and_in_order(several: Any, one: Any) -> None:
    sequences = finite([*deep_tree(), *packed()])
    said: list[tuple[int, int]] = []
    found = several.logprobs(sequences, lambda done, total: said.append((done, total)))
    for quick, slow in zip(found, one.logprobs(sequences), strict=True):
        assert quick == pytest.approx(slow, abs=1e-11)
    assert said[-1] == (len(sequences), len(sequences))
    for quick, slow in zip(several.score(sequences[:1]), one.score(sequences[:1]), strict=True):
        assert quick.logprobs == pytest.approx(slow.logprobs, abs=1e-11)
        assert (quick.greedy == slow.greedy).all()
    assert several.logprobs([]) == []
    assert several.embed(sequences) == pytest.approx(one.embed(sequences), abs=1e-6)
    prompts = [s.tokens[:9] for s in sequences if len(s.tokens) > 9][:3]
    sampling = Sampling(max_new_tokens=5, temperature=1.0, seed=4)
    assert [c.tokens for c in several.sample(prompts, sampling)] == [c.tokens for c in one.sample(prompts, sampling)]


def test_what_is_not_finite_is_named_by_its_place_in_the_whole_batch_and_nothing_is_applied(several: Any, start: dict[str, Any]) -> None:
    sequences = finite([*packed(), *deep_tree()])
    bad = len(sequences) - 4
    sequences[bad] = sequence([5, 60, 7, 8], [2, 3])
    with pytest.raises(NonFiniteLoss) as caught:
        several.forward_backward(as_batch(sequences), SFT())
    assert caught.value.sequences == (bad,)
    assert not any(g.any() for g in several.gradients().values())
    with pytest.raises(NonFiniteLoss) as caught:
        several.forward_backward(as_batch(sequences), PairLoss())
    assert caught.value.sequences == (bad,)
    with pytest.raises(NonFiniteOutput) as said:
        several.score(sequences)
    assert said.value.sequences == (bad,)
    state = several.state()
    assert all(torch.equal(state[k], start[k]) for k in start if k.startswith("adapter."))
    several.forward_backward(as_batch(finite(deep_tree())), SFT())
    assert several.optim_step(0.01) > 0


def test_processes_that_differ_are_found_before_anything_is_saved(several: Any, start: dict[str, Any]) -> None:
    own = several._member.engine
    try:
        own.load_state({k: v + 1e-15 if k.endswith("0.mlp.up_proj.lora_A.weight") else v for k, v in start.items()})
        with pytest.raises(MachineError, match="same weights, bit for bit; after training those of process 2"):
            several.state()
        own.load_state({k: v * 2 if k.startswith("adapter.") else v for k, v in start.items()})
        several.forward_backward(Batch(tuple(finite(deep_tree())), 1.0), SFT())
        own.replace_gradients({k: v * 0 + 1e-3 for k, v in own.gradients().items()})
        assert several.optim_step(0.01) > 0  # one gradient for all, whoever formed it
    finally:
        several.load_state(start)
    several.state()


@pytest.mark.parametrize("opened", [DIVIDED], indirect=True, ids=["two-divided"])
def test_a_process_holds_its_part_of_every_frozen_weight_and_the_whole_adapter(several: Any) -> None:
    assert (several.name, several.refusal, several.micro_batch_tokens) == ("reference", None, None)
    model, trained = several._member.engine._model, several._member.engine._adapters.parameters
    for _ in range(2):
        frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
        assert len(frozen) == 2 * 9 + 3
        assert all(p.to_local().numel() == -(-p.shape[0] // 2) * math.prod(p.shape[1:]) for p in frozen.values())
        assert not any(hasattr(p, "to_local") for p in trained.values())
        several.logprobs(finite(packed()))  # gathered while they compute, and divided again
