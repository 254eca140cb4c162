"""Whole runs: 100 steps on both engines, poison, resume to the same bits, bad losses, the exported adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import as_batch, deep_tree
from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.checkpoint.folder import load_newest, save_checkpoint
from luthier.engine.contract import Batch, NonFiniteLoss, NonFiniteOutput, Sampling, TokenSequence
from luthier.engine.methods.folder import read_adapter
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.optim.config import AdamW
from luthier.engine.select import load_engine, unused_device
from luthier.parts.losses.sft import SFT
from toys import FAMILIES, random_tokens, sequence, toy_engine

SPEC = LoRASpec(rank=4, alpha=8.0)


def step_batch(step: int) -> Batch:
    rng = np.random.default_rng([6, step % 7])
    root = random_tokens(rng, 60)
    return as_batch([sequence(root + random_tokens(rng, n), list(range(60, 60 + n))) for n in (3, 8, 5, 12)])


def train(engine: Any, steps: range, learning_rate: float = 1e-3) -> list[float]:
    losses = []
    for step in steps:
        losses.append(engine.forward_backward(step_batch(step), SFT()).loss)
        engine.optim_step(learning_rate)
    return losses


def test_a_hundred_steps_in_float32_stay_together(toy_folder: Any) -> None:
    folder = toy_folder("llama-tied")
    slow = train(load_engine(folder, SPEC, Execution(engine="reference"), 3), range(100))
    quick = train(load_engine(folder, SPEC, Execution(engine="fast"), 3), range(100))
    assert slow[98] < 0.8 * slow[0]  # step 98 sees the batch of step 0 again
    assert np.abs(np.array(slow) - np.array(quick)).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_changing_a_token_of_one_branch_moves_no_other_branch(toy_folder: Any, family: str) -> None:
    rng = np.random.default_rng(12)
    root = random_tokens(rng, 80)
    a, b = random_tokens(rng, 20), random_tokens(rng, 25)
    poisoned = [*a[:5], (a[5] + 1) % 50 + 3, *a[6:]]
    other = sequence(root + b, list(range(80, 105)))
    silent = [TokenSequence(np.array(root + x, np.int32), np.zeros(100, np.float32)) for x in (a, poisoned)]
    for x in silent:
        x.weights[99] = 1e-30
    results, engine = [], toy_engine(toy_folder(family), "fast", SPEC)
    for branch in silent:
        engine.replace_gradients(None)
        engine.forward_backward(Batch((branch, other), 1.0), SFT())
        results.append((engine.gradients(), engine.logprobs([branch, other])))
    (before, scores), (after, scores_after) = results
    assert np.array_equal(scores[1], scores_after[1])
    assert not np.array_equal(scores[0], scores_after[0])
    for name in before:
        assert torch.linalg.vector_norm(before[name] - after[name]) <= 1e-13 * torch.linalg.vector_norm(before[name])


@pytest.mark.parametrize("kind", ["reference", "fast"])
def test_resume_is_bit_exact(toy_folder: Any, tmp_path: Path, kind: str) -> None:
    folder = toy_folder("llama")
    whole = toy_engine(folder, kind, SPEC, "float32")
    whole.use_optimiser(AdamW(weight_decay=0.1, clip_norm=0.5))
    train(whole, range(3))
    save_checkpoint(tmp_path, 3, {**whole.state(), "step": 3})
    rest = train(whole, range(3, 6))
    resumed = load_engine(folder, SPEC, Execution(engine=kind), 99)  # type: ignore[arg-type]
    resumed.use_optimiser(AdamW(weight_decay=0.1, clip_norm=0.5))
    found = load_newest(tmp_path)
    assert found is not None
    assert found.state.pop("step") == 3
    resumed.load_state(found.state)
    assert train(resumed, range(3, 6)) == rest
    final = resumed.state()
    assert len(final) == 2 * 14 * 4
    assert all(torch.equal(value, final[name]) for name, value in whole.state().items())


def test_engines_start_from_the_same_adapter(toy_folder: Any) -> None:
    folder = toy_folder("qwen3")
    states = [load_engine(folder, SPEC, Execution(engine=k), 7).state() for k in ("reference", "fast")]  # type: ignore[arg-type]
    other = load_engine(folder, SPEC, Execution(engine="fast"), 8).state()
    assert set(states[0]) == set(states[1])
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])
        if "lora_A" in name:
            assert not torch.equal(value, other[name])
            bound = 1 / value.shape[1] ** 0.5
            assert 0.8 * bound < value.abs().max() <= bound
        else:
            assert not value.any()


class Broken:
    """A linear loss that is NaN for weights of 2."""

    needs = frozenset({"logprobs"})
    linear = True

    def coefficients(self, weights_N: Any) -> Any:
        return torch.where(weights_N == 2, float("nan"), weights_N)

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any) -> Any:
        return -(logprobs_N * self.coefficients(weights_N)).sum()


@pytest.mark.parametrize("kind", ["reference", "fast"])
def test_a_loss_that_is_not_finite_applies_nothing(toy_folder: Any, kind: str) -> None:
    engine = toy_engine(toy_folder("llama"), kind, SPEC)
    before = engine.state()
    with pytest.raises(NonFiniteLoss, match="not finite"):
        engine.forward_backward(as_batch(deep_tree()), Broken())
    after = engine.state()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(g.any() for g in engine.gradients().values())


@pytest.mark.parametrize("kind", ["reference", "fast"])
def test_weights_that_overflow_name_the_sequences(toy_folder: Any, kind: str) -> None:
    engine = toy_engine(toy_folder("llama"), kind, SPEC)
    state = engine.state()
    poisoned = next(n for n in state if "down_proj.lora_B" in n)
    engine.load_state({**state, poisoned: torch.full_like(state[poisoned], float("inf"))})
    with pytest.raises(NonFiniteLoss) as caught:
        engine.forward_backward(as_batch(deep_tree()), SFT())
    assert 0 in caught.value.sequences


@pytest.mark.parametrize("kind", ["reference", "fast", "generic"])
def test_answers_and_scores_that_are_not_finite_are_one_message(toy_folder: Any, kind: str) -> None:
    """Else the lowest token, or the first label, would pass for an answer."""
    engine, rows = toy_engine(toy_folder("llama"), kind, SPEC), deep_tree()
    state = engine.state()
    poisoned = next(n for n in state if "down_proj.lora_B" in n)
    engine.load_state({**state, poisoned: torch.full_like(state[poisoned], float("nan"))})
    for verb in (engine.score, engine.logprobs):
        with pytest.raises(NonFiniteOutput, match="log-probabilities must be finite, got NaN") as caught:
            verb(rows)
        assert caught.value.sequences == tuple(range(len(rows)))
    for sampling in (Sampling(4), Sampling(4, temperature=1.0), Sampling(4, temperature=0.7, top_p=0.9), Sampling(4, logprobs=1)):
        with pytest.raises(NonFiniteOutput, match="logits must be finite"):
            engine.sample([s.tokens for s in rows[:3]], sampling)
    engine.load_state(state)
    assert all(np.isfinite(s.logprobs).all() for s in engine.score(rows))


@pytest.mark.parametrize("kind", ["reference", "fast"])
@pytest.mark.parametrize("spec", [SPEC, LoRASpec(3, 7.0, ("q_proj", "down_proj"), rslora=True)], ids=["plain", "rslora"])
def test_the_adapter_loads_in_plain_peft_with_the_same_logits(toy_folder: Any, tmp_path: Path, kind: str, spec: LoRASpec) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = toy_folder("llama")
    engine = toy_engine(folder, kind, spec, "float32")
    engine.save_adapter(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    for s, ours in zip(deep_tree(), engine.logprobs(deep_tree()), strict=True):
        where = np.flatnonzero(s.weights)
        with torch.no_grad():
            logits = model(torch.from_numpy(s.tokens.astype(np.int64))[None]).logits[0]
        wanted = logits.log_softmax(-1)[where - 1, s.tokens[where]]
        assert ours == pytest.approx(wanted.numpy(), abs=2e-4)
    again = load_engine(folder, None, Execution(engine="fast"), 0, tmp_path / "adapter")
    for ours, theirs in zip(engine.logprobs(deep_tree()), again.logprobs(deep_tree()), strict=True):
        assert theirs == pytest.approx(ours, abs=2e-4)


def test_saved_adapters_have_the_same_bytes(toy_folder: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        engine = load_engine(toy_folder("llama"), SPEC, Execution(engine="fast"), 1)
        train(engine, range(2))
        engine.save_adapter(tmp_path / name)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    spec, weights = read_adapter(tmp_path / "a")
    assert (spec.rank, spec.alpha, spec.rslora) == (4, 8.0, False)
    assert len(weights) == 28


def test_what_cannot_be_trained_is_refused(toy_folder: Any, tmp_path: Path) -> None:
    folder = toy_folder("llama")
    with pytest.raises(UserError, match="did you mean `q_proj`"):
        load_engine(folder, LoRASpec(2, 4.0, ("q_prj",)), Execution(), 0)
    bare = load_engine(folder, None, Execution(), 0)
    assert (bare.name, bare.num_trainable, bare.refusal) == ("fast", 0, None)
    with pytest.raises(UserError, match="load it with a method"):
        bare.forward_backward(step_batch(0), SFT())
    other = toy_engine(folder, "fast", LoRASpec(2, 4.0))
    with pytest.raises(UserError, match="same method"):
        other.load_state(toy_engine(folder, "fast", SPEC).state())
    toy_engine(folder, "fast", SPEC).save_adapter(tmp_path)
    with pytest.raises(EngineRefused, match="own method, rank and scale"):
        load_engine(folder, LoRASpec(2, 4.0), Execution(), 0, tmp_path)


class NeedsMore(Broken):
    needs: Any = frozenset({"logprobs", "topk"})


def test_a_loss_that_needs_more_is_refused(toy_folder: Any) -> None:
    with pytest.raises(EngineRefused, match="topk"):
        toy_engine(toy_folder("llama"), "fast", SPEC).forward_backward(step_batch(0), NeedsMore())


def change_config(folder: Path, target: Path, values: Mapping[str, Any]) -> Path:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig.from_pretrained(folder)
    for key, value in values.items():
        setattr(config, key, value)
    AutoModelForCausalLM.from_config(config).save_pretrained(target)
    return target


@pytest.mark.parametrize("values", [{"attention_bias": True}, {"mlp_bias": True}, {"hidden_act": "relu"}])
def test_auto_records_why_it_did_not_take_the_fast_engine(toy_folder: Any, tmp_path: Path, values: dict[str, Any]) -> None:
    folder = change_config(toy_folder("llama"), tmp_path / "odd", values)
    with pytest.raises(EngineRefused, match=next(iter(values))):
        load_engine(folder, SPEC, Execution(engine="fast"), 0)
    engine = load_engine(folder, SPEC, Execution(engine="auto"), 0)
    assert engine.name == "generic"
    assert engine.refusal is not None
    assert next(iter(values)) in engine.refusal
    assert train(engine, range(2))[0] > 0


def test_another_family_runs_on_the_generic_engine(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    shape = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    AutoModelForCausalLM.from_config(GPTNeoXConfig(**shape, max_position_embeddings=128)).save_pretrained(tmp_path)
    engine = load_engine(tmp_path, SPEC, Execution(), 0)
    assert engine.name == "generic"
    assert "gpt_neox" in str(engine.refusal)
    losses = train(engine, range(7))
    assert np.isfinite(losses).all()


def test_cuda_is_refused_with_a_reason(toy_folder: Any) -> None:
    with pytest.raises(EngineRefused, match="GPU"):
        load_engine(toy_folder("llama"), SPEC, Execution(device="cuda"), 0)


def test_a_gpu_that_is_left_aside_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "a GPU is present and not used" in unused_device(Execution())
    assert unused_device(Execution(device="cpu")) == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert unused_device(Execution()) == ""


@pytest.mark.parametrize("kind", ["reference", "fast"])
def test_sequences_that_no_engine_can_compute(toy_folder: Any, kind: str) -> None:
    engine = toy_engine(toy_folder("llama"), kind, None)
    for bad in (sequence([3, 4], [0]), sequence([3, 400], [1]), sequence([], []), sequence([5] * 300, [299])):
        with pytest.raises(UserError, match="sequence 0"):
            engine.logprobs([bad])
