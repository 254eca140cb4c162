"""What every tuning method must hold, whatever it trains: found by its folder, so a new one is tested without a word here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import as_batch, packed
from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.contract import TokenSequence
from luthier.engine.export.loading import load_plain, load_tuned, merge
from luthier.engine.methods.folder import known_methods as known_specs
from luthier.engine.methods.folder import read_adapter
from luthier.engine.methods.prompt import start_tokens
from luthier.engine.methods.qlora import QLoRASpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from luthier.parts.methods.loading import known_methods
from luthier.parts.methods.method import Method
from toys import VOCABULARY, save_toy

TOY = {"rank": 4, "size": 4, "tokens": 3, "layers": 1}
"""Settings that fit a toy model, for whichever method has them."""
SEED, LIMIT = 3, 1e-10
KINDS = sorted(known_methods())
IN_PEFT = ("lora", "dora", "qlora", "ia3", "prompt", "prefix")
REFERENCE, FAST = Execution(engine="reference"), Execution(engine="fast")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy with grouped heads, an untied head and biases on q, k and v."""
    return save_toy(tmp_path_factory.mktemp("methods") / "qwen2", "qwen2")


@pytest.fixture(params=KINDS)
def method(request: pytest.FixtureRequest) -> Method:
    cls = known_methods()[request.param]
    return cls(**{name: value for name, value in TOY.items() if name in cls.model_fields})


def fresh(folder: Path, method: Method, dtype: Any = "float64") -> Any:
    return load_engine(folder, method.spec(), REFERENCE, SEED, dtype=dtype)


def moved(engine: Any) -> Any:
    """The engine with every trained tensor away from its start."""
    generator, state = torch.Generator().manual_seed(5), engine.state()
    for name in sorted(state):
        state[name] = state[name] + 0.1 * torch.randn(state[name].shape, generator=generator).to(state[name].dtype)
    engine.load_state(state)
    return engine


def logits_of(model: Any, s: TokenSequence, before: Sequence[int] = ()) -> torch.Tensor:
    """[N, vocabulary] of a plain model, of the sequence's own tokens."""
    ids = torch.tensor([[*before, *s.tokens.tolist()]])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -len(s.tokens) :]


def target_logprobs(model: Any, s: TokenSequence, before: Sequence[int] = ()) -> torch.Tensor:
    where = np.flatnonzero(s.weights)
    rows = logits_of(model, s, before).log_softmax(-1)[where - 1]
    return rows[torch.arange(len(where)), torch.from_numpy(s.tokens[where].astype(np.int64))]


def loss_of(read: Callable[[TokenSequence], torch.Tensor]) -> torch.Tensor:
    """The supervised loss of `packed()`, written once more without an engine."""
    batch = as_batch(packed())
    sums = [(read(s) * torch.from_numpy(s.weights[s.weights != 0])).sum() for s in batch.sequences]
    return -torch.stack(sums).sum() / batch.normaliser


def base_of(folder: Path, method: Method) -> tuple[Any, list[int]]:
    """The plain model that the method must start as, and the tokens that stand before every sequence at the start."""
    model, spec = load_plain(folder), method.spec()
    if isinstance(spec, QLoRASpec):
        spec.round(model)
    before = start_tokens(model, spec.tokens, SEED).tolist() if hasattr(spec, "tokens") else []  # type: ignore[attr-defined]
    return model, before


def test_a_part_and_a_spec_for_every_kind() -> None:
    assert [cls.kind for cls in known_specs()] == KINDS
    assert set(IN_PEFT) < set(KINDS)


def test_it_starts_as_the_base(folder: Path, method: Method) -> None:
    base, before = base_of(folder, method)
    ours = fresh(folder, method, "float32").logprobs(packed())
    plain = load_engine(folder, None, REFERENCE, 0).logprobs(packed())
    difference = max(float(np.abs(a - b).max()) for a, b in zip(ours, plain, strict=True))
    assert (difference < 2e-5) == method.spec().starts_as_base
    for s, found in zip(packed(), ours, strict=True):
        with torch.no_grad():
            assert found == pytest.approx(target_logprobs(base, s, before).numpy(), abs=2e-5)


def test_the_start_depends_on_the_seed_and_nothing_else(folder: Path, method: Method) -> None:
    first, again = (fresh(folder, method, "float32").state() for _ in range(2))
    torch.manual_seed(99)
    assert all(torch.equal(first[k], again[k]) for k in first)
    wide = fresh(folder, method, "float64").state()
    assert wide.keys() == first.keys()
    assert all(torch.allclose(wide[k].float(), first[k], atol=1e-5) for k in first)


def test_the_base_is_frozen_bit_by_bit_and_what_is_trained_moves(folder: Path, method: Method) -> None:
    engine = fresh(folder, method, "float32")
    model, trained = engine._model, {id(p) for p in engine._adapters.parameters.values()}
    frozen = {n: p for n, p in model.named_parameters() if id(p) not in trained} | dict(model.named_buffers())
    before = {n: p.detach().clone() for n, p in frozen.items()}
    start = engine.state()
    for _ in range(3):
        engine.forward_backward(as_batch(packed()), SFT())
        engine.optim_step(1e-2)
    assert all(torch.equal(before[n], p) for n, p in frozen.items())
    assert all(not p.requires_grad for p in frozen.values())
    after = engine.state()
    assert all(not torch.equal(start[k], after[k]) for k in start if k.startswith("adapter."))


def test_it_is_saved_and_loaded(folder: Path, method: Method, tmp_path: Path) -> None:
    engine = moved(fresh(folder, method, "float32"))
    engine.save_adapter(tmp_path)
    again = load_engine(folder, None, REFERENCE, 0, tmp_path)
    assert again.num_trainable == engine.num_trainable > 0
    state, found = engine.state(), again.state()
    assert state.keys() == found.keys()
    assert all(torch.equal(state[k], found[k]) for k in state)
    for ours, theirs in zip(engine.logprobs(packed()), again.logprobs(packed()), strict=True):
        assert ours.tolist() == theirs.tolist()
    assert load_engine(folder, method.spec(), REFERENCE, 0, tmp_path).num_trainable == engine.num_trainable
    again.save_adapter(tmp_path / "second")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "second" / file).read_bytes() == (tmp_path / file).read_bytes()


def test_merged_equals_unmerged_where_it_merges(folder: Path, method: Method, tmp_path: Path) -> None:
    engine = moved(fresh(folder, method, "float32"))
    engine.save_adapter(tmp_path)
    if method.spec().unmergeable:
        with pytest.raises(EngineRefused, match=method.spec().unmergeable):
            merge(load_tuned(folder, tmp_path))
        return
    model = merge(load_tuned(folder, tmp_path))
    assert {n for n, _ in model.named_parameters()} == {n for n, _ in load_plain(folder).named_parameters()}
    for s, ours in zip(packed(), engine.logprobs(packed()), strict=True):
        with torch.no_grad():
            assert ours == pytest.approx(target_logprobs(model, s).numpy(), abs=2e-4)


def test_it_loads_in_peft_with_equal_logits_where_peft_has_it(folder: Path, method: Method, tmp_path: Path) -> None:
    from peft import PeftModel

    engine = moved(fresh(folder, method, "float32"))
    engine.save_adapter(tmp_path)
    base = base_of(folder, method)[0]
    if method.kind not in IN_PEFT:
        with pytest.raises(KeyError):
            PeftModel.from_pretrained(base, str(tmp_path))
        return
    model = PeftModel.from_pretrained(base, str(tmp_path))
    for s, ours in zip(packed(), engine.logprobs(packed()), strict=True):
        with torch.no_grad():
            assert ours == pytest.approx(target_logprobs(model, s).numpy(), abs=2e-4)


def test_gradients_equal_autograd_through_other_modules(folder: Path, method: Method, tmp_path: Path) -> None:
    """Float64. PEFT's modules around a plain model; the model's own parameters; or a network hooked onto it."""
    engine = moved(fresh(folder, method))
    engine.forward_backward(as_batch(packed()), SFT())
    ours = engine.gradients()
    theirs = oracle_gradients(folder, method, engine.state(), tmp_path)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        scale = theirs[name].abs().max()
        assert scale > 0
        assert float((gradient - theirs[name]).abs().max() / scale) < LIMIT, name


def oracle_gradients(folder: Path, method: Method, state: dict[str, Any], work: Path) -> dict[str, torch.Tensor]:
    from luthier.engine.reference.load import load_model

    model = load_model(folder, torch.float64)
    if isinstance(method.spec(), QLoRASpec):
        method.spec().round(model)  # type: ignore[attr-defined]
    weights = {name.removeprefix("adapter."): t for name, t in state.items()}
    if method.kind in IN_PEFT:
        return peft_gradients(model, folder, method, weights, work)
    if method.kind == "bottleneck":
        return hooked_gradients(model, weights)
    own = dict(model.named_parameters())
    plain = {name.removeprefix("base_model.model."): name for name in weights}
    for name in plain:
        own[name].data.copy_(weights[plain[name]])
        own[name].requires_grad_(True)
    found = torch.autograd.grad(loss_of(lambda s: target_logprobs(model, s)), [own[n] for n in plain])
    return dict(zip(plain.values(), found, strict=True))


def peft_gradients(model: Any, folder: Path, method: Method, weights: dict[str, Any], work: Path) -> dict[str, torch.Tensor]:
    from peft import PeftConfig, get_peft_model

    from luthier.engine.methods.wrapping import saved_name

    load_engine(folder, method.spec(), REFERENCE, SEED).save_adapter(work)
    config = PeftConfig.from_pretrained(str(work))
    config.inference_mode = False
    wrapped: Any = get_peft_model(model, config, autocast_adapter_dtype=False)
    if config.is_prompt_learning:
        wrapped.prompt_encoder.double()
        parameters = {"prompt_embeddings": wrapped.prompt_encoder["default"].embedding.weight}
    else:
        parameters = {saved_name(n): p for n, p in wrapped.named_parameters() if p.requires_grad}
    for name, p in parameters.items():
        p.data = weights[name].double()
    found = torch.autograd.grad(loss_of(lambda s: target_logprobs(wrapped, s)), list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


def hooked_gradients(model: Any, weights: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The formula of a bottleneck layer as a hook on each adapted linear layer."""
    leaves = {name: tensor.clone().requires_grad_(True) for name, tensor in weights.items()}

    def hook(prefix: str) -> Callable[..., torch.Tensor]:
        def add(module: Any, inputs: Any, y: torch.Tensor) -> torch.Tensor:
            inner = torch.relu(y @ leaves[prefix + "adapter_down.weight"].t() + leaves[prefix + "adapter_down.bias"])
            return y + inner @ leaves[prefix + "adapter_up.weight"].t() + leaves[prefix + "adapter_up.bias"]

        return add

    for name in {n.rpartition(".adapter_")[0] for n in leaves}:
        model.get_submodule(name.removeprefix("base_model.model.")).register_forward_hook(hook(name + "."))
    found = torch.autograd.grad(loss_of(lambda s: target_logprobs(model, s)), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def test_an_engine_that_cannot_do_it_says_so(folder: Path, method: Method) -> None:
    """The fast engine computes the same or refuses; `auto` then takes another engine and records why."""
    auto = load_engine(folder, method.spec(), Execution(), SEED)
    if auto.name != "fast":
        assert method.kind in str(auto.refusal)
        with pytest.raises(EngineRefused, match=method.kind):
            load_engine(folder, method.spec(), FAST, SEED)
        return
    assert auto.refusal is None
    for ours, theirs in zip(auto.logprobs(packed()), fresh(folder, method, "float32").logprobs(packed()), strict=True):
        assert ours == pytest.approx(theirs, abs=2e-4)


def test_it_generates_and_embeds(folder: Path, method: Method) -> None:
    from luthier.engine.contract import Sampling

    engine = moved(fresh(folder, method, "float32"))
    prompts = [s.tokens[:5] for s in packed()[:2]]
    done = engine.sample(prompts, Sampling(max_new_tokens=3, stop_ids=()))
    assert [len(c.tokens) for c in done] == [3, 3]
    assert all(0 <= t < VOCABULARY for c in done for t in c.tokens)
    assert engine.embed(packed()).shape == (len(packed()), 48)


def test_an_adapter_of_another_base_is_refused(folder: Path, method: Method, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    engine = fresh(folder, method, "float32")
    engine.save_adapter(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    first = next(iter(sorted(weights)))
    broken = {
        "is missing": {n: t for n, t in weights.items() if n != first},
        "not part of it": weights | {"base_model.model.extra.weight": torch.zeros(2)},
        "has shape": weights | {first: torch.zeros(*weights[first].shape, 2)},
    }
    for words, tensors in broken.items():
        save_file(tensors or {"base_model.model.extra.weight": torch.zeros(2)}, tmp_path / "adapter_model.safetensors", {"format": "pt"})
        with pytest.raises(UserError, match="must be of this model and method") as caught:
            load_engine(folder, None, REFERENCE, 0, tmp_path)
        assert words in str(caught.value) or len(weights) == 1
        assert caught.value.exit_code == 2


def test_pickled_and_hostile_weights_are_refused(folder: Path, method: Method, tmp_path: Path) -> None:
    fresh(folder, method, "float32").save_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="header must fit"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="pickle can run any program"):
        load_engine(folder, None, REFERENCE, 0, tmp_path)
