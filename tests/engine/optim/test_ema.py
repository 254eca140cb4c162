"""The average of the weights: against torch's own, its swap, its resume, and what a run saves of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hard_batches import as_batch, deep_tree
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.optim.config import SGD, AdamW
from luthier.engine.optim.ema import Average
from luthier.parts.losses.sft import SFT
from luthier.pipeline.workspace import Workspace
from luthier.stages.train.loop import BEST, CHECKPOINTS
from toy_project import write_toy
from toys import save_toy, toy_engine

SPEC = LoRASpec(rank=2, alpha=4.0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("toys") / "llama", "llama")


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_equals_that_of_torch(decay: float) -> None:
    from torch.optim.swa_utils import AveragedModel

    model = torch.nn.Linear(4, 3).double()
    average = Average(dict(model.named_parameters()), decay)
    start = {k: p.detach().clone() for k, p in model.named_parameters()}

    def warmed(old: Any, new: Any, updates: Any) -> Any:
        keep = min(decay, (1 + int(updates)) / (10 + int(updates)))
        return keep * old + (1 - keep) * new

    theirs = AveragedModel(model, avg_fn=warmed)
    theirs.update_parameters(model)  # torch's first update copies; ours starts as a copy
    for step in range(60):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(step)))
        average.update()
        theirs.update_parameters(model)
    average.swap()
    for (name, ours), wanted in zip(model.named_parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)
        assert not torch.equal(ours, start[name])


def train(engine: Any, steps: range) -> None:
    for step in steps:
        rows = deep_tree()[step % 5 :]
        engine.forward_backward(as_batch(rows), SFT())
        engine.optim_step(0.05)


@pytest.mark.parametrize("kind", ["fast", "reference"])
def test_verbs_see_the_average_between_two_swaps(toy: Path, kind: str) -> None:
    engine = toy_engine(toy, kind, SPEC)
    engine.use_optimiser(SGD(momentum=0.0), 0.9)
    rows, first = deep_tree()[:2], engine.state()
    train(engine, range(3))
    plain, last = engine.logprobs(rows), engine.state()
    engine.swap_average()
    inside, averaged = engine.logprobs(rows), engine.state()
    engine.swap_average()
    assert all(np.array_equal(a, b) for a, b in zip(plain, engine.logprobs(rows), strict=True))
    assert not np.allclose(plain[0], inside[0])
    name = next(k for k in averaged if k.startswith("adapter.") and "lora_B" in k)
    assert torch.equal(averaged[name], last[name.replace("adapter.", "ema.")])
    assert not torch.equal(averaged[name], first[name])
    fresh = toy_engine(toy, kind, SPEC)
    fresh.load_state({k: v for k, v in averaged.items() if k.startswith("adapter.")})
    assert all(np.array_equal(a, b) for a, b in zip(inside, fresh.logprobs(rows), strict=True))


@pytest.mark.parametrize("kind", ["fast", "reference"])
def test_a_resume_keeps_the_average(toy: Path, kind: str) -> None:
    whole, second = toy_engine(toy, kind, SPEC), toy_engine(toy, kind, SPEC)
    for engine in (whole, second):
        engine.use_optimiser(AdamW(), 0.8)
    train(whole, range(2))
    second.load_state(whole.state())
    for engine in (whole, second):
        train(engine, range(2, 5))
    left, right = whole.state(), second.state()
    assert set(left) == set(right)
    assert left["ema_updates"] == 5
    assert all(torch.equal(v, right[k]) for k, v in left.items() if isinstance(v, torch.Tensor))


def test_without_an_average_a_swap_does_nothing(toy: Path) -> None:
    engine = toy_engine(toy, "fast", SPEC)
    before = engine.state()
    engine.swap_average()
    assert all(torch.equal(v, before[k]) for k, v in engine.state().items() if isinstance(v, torch.Tensor))
    assert not any(k.startswith("ema") for k in before)


def test_a_run_evaluates_and_saves_the_average_and_resumes_to_the_same_bytes(tmp_path: Path, learner_base: Path) -> None:
    """Stopped after its last step, the checkpoint has both; the finished run's adapter is the average."""
    from luthier.core.events import Metric
    from luthier.core.store import Interrupted

    overrides = ("train.regularisation.ema=0.9", "train.evaluations=1", "train.epochs=0.75", "train.early_stopping=null")
    stopped, straight = (write_toy(tmp_path / name, learner_base) for name in ("stopped", "straight"))

    def build(file: Path, stop_at: int | None) -> Any:
        workspace, seen = Workspace.open(file, overrides), [0]

        def watch(event: Any) -> None:
            if isinstance(event, Metric) and event.name == "loss":
                seen[0] = event.step

        stop = (lambda: seen[0] >= stop_at) if stop_at else (lambda: False)
        return workspace.store.build(workspace.graph.train, workspace.project.execution, watch, stop)

    for step in (3, 6):
        with pytest.raises(Interrupted):
            build(stopped, step)
    workspace = Workspace.open(stopped, overrides)
    work = workspace.store.work / workspace.graph.train.key()[:12]
    assert not (work / BEST).exists()
    kept = load_file(work / CHECKPOINTS / "step-000000006" / "state.safetensors")
    first, second = build(stopped, None), build(straight, None)
    saved = load_file(first.path / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(tensor, kept[f"ema.{name}"]) for name, tensor in saved.items())
    assert not all(torch.equal(tensor, kept[f"adapter.{name}"]) for name, tensor in saved.items())
    assert first.result.adapter_sha256 == second.result.adapter_sha256
    assert first.result.best == second.result.best
