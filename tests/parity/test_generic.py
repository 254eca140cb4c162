"""The generic engine against plain transformers + PEFT: every gradient, scores, generation, for decoders that share no code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_gradients import PairLoss

from hard_batches import BATCHES, as_batch, deep_tree
from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.contract import Batch, Noise, NoiseRates, Sampling, TokenSequence
from luthier.engine.generic import head
from luthier.engine.generic.packed import PackedModel, check_windows
from luthier.engine.kernels import head as kernel
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.reference.load import load_model
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from toys import OTHERS, other_config, random_tokens, relative_errors, save_toy, sequence, toy_engine

SPEC = LoRASpec(rank=4, alpha=8.0)
LIMIT = 1e-10
Engines = Callable[[str], tuple[Any, Any]]


@pytest.fixture(scope="module")
def engines(toy_folder: Any) -> Engines:
    """family -> the reference and the generic engine with a LoRA on it, in float64."""
    made: dict[str, tuple[Any, Any]] = {}

    def pair(family: str) -> tuple[Any, Any]:
        if family not in made:
            made[family] = (toy_engine(toy_folder(family), "reference", SPEC), toy_engine(toy_folder(family), "generic", SPEC))
        for engine in made[family]:
            engine.load_state(engine.state())  # gradients of another test are dropped
        return made[family]

    return pair


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("batch", BATCHES)
def test_every_gradient_equals_the_reference(engines: Engines, family: str, batch: str) -> None:
    reference, generic = engines(family)
    given = as_batch(BATCHES[batch]())
    slow, quick = reference.forward_backward(given, SFT()), generic.forward_backward(given, SFT())
    assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
    assert quick.num_targets == slow.num_targets
    assert quick.unique_tokens <= slow.unique_tokens
    assert max(relative_errors(generic.gradients(), reference.gradients()).values()) < LIMIT


@pytest.mark.parametrize("loss", [SFT(), SFT(label_smoothing=0.1), PairLoss()], ids=["linear", "of means", "not linear"])
@pytest.mark.parametrize("budget", [64, 300, 4096])
def test_micro_batches_change_nothing(toy_folder: Any, engines: Engines, loss: Any, budget: int) -> None:
    reference, generic = engines("gpt2")[0], toy_engine(toy_folder("gpt2"), "generic", SPEC, budget=budget)
    given = as_batch(deep_tree())
    reference.forward_backward(given, loss)
    generic.forward_backward(Batch(given.sequences[:6], given.normaliser) if loss.linear else given, loss)
    if loss.linear:
        generic.forward_backward(Batch(given.sequences[6:], given.normaliser), loss)
    assert max(relative_errors(generic.gradients(), reference.gradients()).values()) < LIMIT


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("family", ["gpt_neox", "olmo2"])
def test_noise_is_of_tokens_and_not_of_packs(toy_folder: Any, family: str, shared: bool) -> None:
    """LoRA dropout and embedding noise (and dropout, where layers are named as in Llama) against one sequence at a time."""
    rates = NoiseRates(dropout=0.1 if family == "olmo2" else 0.0, lora=0.2, embedding=0.0 if shared else 5.0, shared_masks=shared)
    given = as_batch(deep_tree())
    noisy = replace(given, noise=Noise(rates, 3, 1, tuple(range(len(given.sequences)))))
    reference, generic = (toy_engine(toy_folder(family), kind, SPEC, budget=300) for kind in ("reference", "generic"))
    slow, quick = reference.forward_backward(noisy, SFT()), generic.forward_backward(noisy, SFT())
    assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
    assert max(relative_errors(generic.gradients(), reference.gradients()).values()) < LIMIT
    plain = toy_engine(toy_folder(family), "generic", SPEC).forward_backward(given, SFT())
    assert abs(plain.loss - quick.loss) > 1e-3
    assert generic.logprobs(deep_tree())[0] == pytest.approx(reference.logprobs(deep_tree())[0], abs=1e-11)


@pytest.mark.parametrize("family", ["gpt2", "falcon"])
def test_changing_a_token_of_one_branch_moves_no_other_branch(engines: Engines, family: str) -> None:
    rng = np.random.default_rng(12)
    root = random_tokens(rng, 80)
    a, b = random_tokens(rng, 20), random_tokens(rng, 25)
    other, results = sequence(root + b, list(range(80, 105))), []
    for branch in (a, [*a[:5], (a[5] + 1) % 50 + 3, *a[6:]]):
        silent = TokenSequence(np.array(root + branch, np.int32), np.zeros(100, np.float32))
        silent.weights[99] = 1e-30
        _, generic = engines(family)
        generic.forward_backward(Batch((other, silent), 25.0), SFT())
        results.append((generic.gradients(), generic.logprobs([other, silent])))
    assert max(relative_errors(results[0][0], results[1][0]).values()) < 1e-12
    assert results[0][1][0] == pytest.approx(results[1][1][0], abs=1e-12)
    assert results[0][1][1] != pytest.approx(results[1][1][1], abs=1e-6)


@pytest.mark.parametrize("family", OTHERS)
def test_scores_and_embeddings_equal_the_reference(engines: Engines, family: str) -> None:
    reference, generic = engines(family)
    seen: list[tuple[int, int]] = []
    found = generic.score(deep_tree(), lambda done, total: seen.append((done, total)))
    for slow, quick in zip(reference.score(deep_tree()), found, strict=True):
        assert quick.logprobs == pytest.approx(slow.logprobs, abs=1e-11)
        assert (quick.greedy == slow.greedy).all()
    assert seen[-1] == (len(deep_tree()), len(deep_tree()))
    assert generic.embed(deep_tree()) == pytest.approx(reference.embed(deep_tree()), abs=1e-6)
    assert generic.logprobs([sequence([5, 6, 7], [])])[0].shape == (0,)


def prompts(lengths: tuple[int, ...] = (1, 4, 11, 30, 2)) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    return [np.array(random_tokens(rng, n), np.int32) for n in lengths]


@pytest.mark.parametrize("family", OTHERS)
def test_greedy_tokens_equal_generate(toy_folder: Any, family: str) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(toy_folder(family), dtype=torch.float64).eval()
    generic = toy_engine(toy_folder(family), "generic", None)
    for prompt, completion in zip(prompts(), generic.sample(prompts(), Sampling(max_new_tokens=24, stop_ids=(7, 9))), strict=True):
        ids = torch.from_numpy(prompt.astype(np.int64))[None]
        settings = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": [7, 9], "pad_token_id": 0}
        wanted = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, len(prompt) :].tolist()
        stopped = wanted[-1] in (7, 9)
        assert completion.finish == ("stop" if stopped else "length")
        assert list(completion.tokens) == (wanted[:-1] if stopped else wanted)


@pytest.mark.parametrize("family", ["gpt2", "falcon", "starcoder2"])
@pytest.mark.parametrize("budget", [64, 4096])
def test_drawn_tokens_do_not_depend_on_batches(toy_folder: Any, engines: Engines, family: str, budget: int) -> None:
    reference, generic = engines(family)[0], toy_engine(toy_folder(family), "generic", SPEC, budget=budget)
    some = prompts((1, 4, 11, 30, 2, 60, 59, 3))
    sampling = Sampling(
        16, temperature=0.9, top_k=30, top_p=0.9, min_p=0.02, repetition_penalty=1.2, seed=3, stop_ids=(5,), num_samples=2, logprobs=2
    )
    seen: list[tuple[int, int]] = []
    found = generic.sample(some, sampling, lambda done, total: seen.append((done, total)))
    for mine, theirs in zip(found, reference.sample(some, sampling), strict=True):
        assert (mine.tokens, mine.finish, mine.stopped_by) == (theirs.tokens, theirs.finish, theirs.stopped_by)
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-9)
    assert seen == sorted(set(seen))
    assert seen[-1] == (8, 8)


def test_the_window_of_a_sampled_sequence_is_the_models(engines: Engines) -> None:
    """Far beyond the window of 25 tokens, and after sequences have left the batch."""
    reference, generic = engines("starcoder2")
    sampling = Sampling(60, temperature=1.2, seed=1, stop_ids=(3, 4, 5))
    assert generic.sample(prompts((70, 68, 3, 40)), sampling) == reference.sample(prompts((70, 68, 3, 40)), sampling)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "falcon", "opt"])
def test_the_adapter_is_the_same_in_plain_peft(engines: Engines, toy_folder: Any, tmp_path: Path, family: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    _, generic = engines(family)
    generic.save_adapter(tmp_path / "adapter")
    again = load_engine(toy_folder(family), None, Execution(engine="generic"), 0, tmp_path / "adapter", "float64")
    base = AutoModelForCausalLM.from_pretrained(toy_folder(family), dtype=torch.float64)
    tuned = PeftModel.from_pretrained(base, str(tmp_path / "adapter"), autocast_adapter_dtype=False).eval()
    some = sequence(random_tokens(np.random.default_rng(0), 30), list(range(1, 30)))
    with torch.no_grad():
        logits = tuned(input_ids=torch.from_numpy(some.tokens.astype(np.int64))[None]).logits[0].log_softmax(-1)
    wanted = logits[torch.arange(29), torch.from_numpy(some.tokens[1:].astype(np.int64))].numpy()
    bare = toy_engine(toy_folder(family), "generic", None).logprobs([some])[0]
    assert np.abs(wanted - bare).max() > 1e-2
    for engine in (generic, again):
        assert engine.logprobs([some])[0] == pytest.approx(wanted, abs=1e-5)  # the adapter is stored in float32


def test_a_run_goes_on_from_its_state_bit_for_bit(toy_folder: Any) -> None:
    def steps(engine: Any, numbers: range) -> list[float]:
        losses = []
        for n in numbers:
            rng = np.random.default_rng([6, n])
            losses.append(engine.forward_backward(as_batch([sequence(random_tokens(rng, 20), list(range(5, 20)))]), SFT()).loss)
            engine.optim_step(1e-2)
        return losses

    first, second = (load_engine(toy_folder("gpt_neox"), SPEC, Execution(engine="generic"), seed) for seed in (0, 1))
    steps(first, range(3))
    state = {k: v.clone() if torch.is_tensor(v) else v for k, v in first.state().items()}
    wanted = steps(first, range(3, 6))
    second.load_state(state)
    assert steps(second, range(3, 6)) == wanted
    assert all(torch.equal(a, second.state()[n]) for n, a in first.state().items() if torch.is_tensor(a))


def test_the_head_by_chunks_equals_autograd_with_a_bias_and_trained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "chunk_rows", lambda vocabulary: 3)
    widest: list[int] = []
    layer = torch.nn.Linear(8, 50, dtype=torch.float64)

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        widest.append(len(hidden))
        return layer(hidden)

    torch.manual_seed(0)
    hidden = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)
    row, token = torch.tensor([0, 0, 2, 3, 7, 10]), torch.tensor([4, 4, 9, 0, 49, 7])
    c, m = torch.rand(6, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    logprobs = layer(hidden).log_softmax(-1)[row]
    value = -(c * logprobs[torch.arange(6), token]).sum() - (m * logprobs.mean(-1)).sum()
    wanted = torch.autograd.grad(value, [hidden, layer.weight, layer.bias])
    asked = head.Wanted(row, token, 50)
    out, means, d_hidden = head.gradient(logits, hidden.detach(), asked, c, m)
    assert means is not None
    assert max(widest) == 3
    torch.testing.assert_close(out, logprobs[torch.arange(6), token].detach(), rtol=0, atol=1e-13)
    torch.testing.assert_close(means, logprobs.mean(-1).detach(), rtol=0, atol=1e-13)
    for mine, theirs in zip((d_hidden, layer.weight.grad, layer.bias.grad), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    values, top = head.scores(logits, hidden.detach(), asked)
    torch.testing.assert_close(values, out, rtol=0, atol=1e-13)
    assert top.tolist() == (layer(hidden).argmax(-1)[row] == token).tolist()
    assert kernel.row_chunks(11, row, 3)[0] == (slice(0, 3), slice(0, 3))


# which engine ---------------------------------------------------------------------------------------------------


def refused(tmp_path: Path, config: Any, match: str) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(EngineRefused, match=match):
        load_engine(tmp_path, SPEC, Execution(engine="generic"), 0)
    engine = load_engine(tmp_path, SPEC, Execution(), 0)
    assert engine.name == "reference"
    assert "the fast engine computes" in str(engine.refusal)
    assert match.split(".*")[0] in str(engine.refusal)
    losses = [engine.forward_backward(as_batch([sequence([5, 6, 7, 8], [2, 3])]), SFT()).loss for _ in range(2)]
    assert losses[0] == losses[1] > 0


def test_auto_takes_the_generic_engine_and_says_why_not_the_fast_one(toy_folder: Any) -> None:
    engine = load_engine(toy_folder("gpt2"), SPEC, Execution(), 0)
    assert engine.name == "generic"
    assert "the fast engine computes llama" in str(engine.refusal)
    assert load_engine(toy_folder("gpt2"), SPEC, Execution(engine="generic"), 0).refusal is None
    assert load_engine(toy_folder("llama"), SPEC, Execution(engine="generic"), 0).name == "generic"
    assert load_engine(toy_folder("llama"), SPEC, Execution(), 0).refusal is None


def test_alibi_is_refused_and_runs_on_the_reference(tmp_path: Path) -> None:
    config = other_config("falcon")
    config.alibi = True
    refused(tmp_path, config, "ALiBi")


def test_an_attention_of_its_own_is_refused(tmp_path: Path) -> None:
    import transformers as hf

    refused(tmp_path, hf.BloomConfig(vocab_size=61, hidden_size=48, n_layer=2, n_head=6), "attention interface")


def test_layers_that_are_not_attention_are_refused(tmp_path: Path) -> None:
    """A convolution over rows does not know of branches: only running it shows."""
    import transformers as hf

    shape = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 40}
    config = hf.Lfm2Config(vocab_size=61, **shape, layer_types=["conv", "full_attention"], pad_token_id=0, bos_token_id=1, eos_token_id=2)
    refused(tmp_path, config, "the generic engine cannot pack this model")


def test_a_window_that_attention_is_not_told_of_bounds_the_sequence(toy_folder: Any) -> None:
    from transformers import AutoModelForCausalLM

    packed = PackedModel(AutoModelForCausalLM.from_pretrained(toy_folder("starcoder2")).eval())
    packed.windows = (25, 25)
    assert check_windows(packed, "here") is None
    packed.windows = (None, None)
    assert check_windows(packed, "here") == 25


def test_longrope_is_bounded_by_its_short_range(toy_folder: Any) -> None:
    long = TokenSequence(np.full(300, 5, np.int32), np.r_[np.zeros(299, np.float32), 1.0].astype(np.float32))
    with pytest.raises(UserError, match="256 positions"):
        load_engine(toy_folder("phi3-long"), SPEC, Execution(engine="generic"), 0).logprobs([long])


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_what_writes_no_text_from_the_left_is_one_message_that_names_what_is_served(tmp_path: Path, kind: str) -> None:
    import transformers as hf

    shape = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    model = hf.BertModel(hf.BertConfig(**shape)) if kind == "bert" else hf.T5Model(hf.T5Config(vocab_size=61, d_model=32, num_layers=2))
    model.save_pretrained(tmp_path)  # pyright: ignore[reportCallIssue]
    with pytest.raises(EngineRefused, match=r"a decoder .*is wanted.*the fast engine computes llama.*GPT-2.*Falcon") as caught:
        load_model(tmp_path, torch.float32)
    assert "\n" not in str(caught.value)


def test_layers_that_peft_cannot_adapt_are_one_message(tmp_path: Path) -> None:
    import transformers as hf

    config = hf.MambaConfig(vocab_size=61, hidden_size=48, num_hidden_layers=2, state_size=8)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"the method must fit the model's layers.*out_proj"):
        load_engine(tmp_path, LoRASpec(2, 4.0), Execution(), 0)
    assert load_engine(tmp_path, None, Execution(), 0).name == "reference"


def test_toys_differ(tmp_path: Path) -> None:
    """Each family is a model of its own: the same weights' names would make the grid a repetition."""
    names = {family: other_config(family).model_type for family in OTHERS}
    assert len(set(names.values())) == len(OTHERS) - 2  # OPT and Falcon come in two shapes
    assert save_toy(tmp_path / "x", "gpt2").is_dir()
