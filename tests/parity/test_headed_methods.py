"""Every method that an encoder or an encoder-decoder takes, against PEFT where PEFT has it and else written once more, in float64.

The oracle reads the saved folder: its loss, gradients and outputs are those of transformers' own model with what the folder holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_seq2seq import _exact

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.core.records import Message
from luthier.engine.contract import Batch, TokenSequence
from luthier.engine.encoder.load import load_encoder
from luthier.engine.export.headed import load_tuned_headed
from luthier.engine.export.loading import merge
from luthier.engine.methods.fits import OF_HEADED, check_method
from luthier.engine.models.kinds import ENCODERS
from luthier.engine.seq2seq.load import load_seq2seq
from luthier.engine.text.answers import Answers
from luthier.engine.text.plain import TextPolicy, TextRenderer
from luthier.parts.losses.sft import SFT
from luthier.parts.methods.loading import known_methods
from toy_encoders import make_toy_encoder, make_toy_seq2seq

LABELS = Answers(kind="label", labels=("a", "b", "c"))
ROWS = {
    "encoder": (("my card was stolen", "a"), ("why is the rate wrong , can you check it now ?", "c"), ("top up", "b")),
    "seq2seq": (("my card was stolen", "block it"), ("why is the rate wrong ?", "please check the rate"), ("top up", "a bank transfer")),
}
SETTINGS = {"lora": {"rank": 3}, "dora": {"rank": 3}, "bottleneck": {"size": 4}, "last_layers": {"layers": 1}, "bitfit": {"create": True}}
IN_PEFT = ("lora", "dora", "ia3")
SEQ2SEQ = ("t5", "bart")
PREFIX, SEED = "base_model.model.", 7
CASES = [(arch, kind) for kind in OF_HEADED for arch in (*(ENCODERS if kind == "ia3" else ("bert",)), *SEQ2SEQ)]
"""IA3 finds its layers by their names in each family."""
MERGED = [(a, k) for a, k in CASES if a in ("bert", *SEQ2SEQ) and k != "bottleneck" and (a, k) != ("t5", "bitfit")]
"""Bottleneck layers and added biases do not merge."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("headed")
    made = {arch: make_toy_encoder(root / arch, arch) for arch in ENCODERS}
    return made | {arch: make_toy_seq2seq(root / arch, arch) for arch in SEQ2SEQ}


def spec_of(kind: str, **settings: Any) -> Any:
    return known_methods()[kind](**(settings or SETTINGS.get(kind, {}))).spec()


def load(folder: Path, arch: str, method: Any, seed: int = SEED) -> Any:
    execution = Execution(micro_batch_tokens=64)
    if arch in SEQ2SEQ:
        return load_seq2seq(folder, method, execution, seed, torch.float64)
    return load_encoder(folder, LABELS, method, execution, seed, torch.float64)


def rows_of(folder: Path, arch: str) -> list[TokenSequence]:
    which = "seq2seq" if arch in SEQ2SEQ else "encoder"
    renderer = TextRenderer.from_model(folder, TextPolicy(max_length=64), LABELS if which == "encoder" else None)
    found = [renderer.render((Message("user", text), Message("assistant", answer))) for text, answer in ROWS[which]]
    return [TokenSequence(f.tokens, f.weights) for f in found]


def moved(engine: Any) -> Any:
    """The engine with every trained tensor away from its start, by numbers that float32 has."""
    generator, state = torch.Generator().manual_seed(5), engine.state()
    for name in sorted(n for n in state if n.startswith("adapter.")):
        state[name] = (state[name].float() + 0.1 * torch.randn(state[name].shape, generator=generator)).double()
    engine.load_state(state)
    return engine


def plain(folder: Path, arch: str) -> Any:
    from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    loader: Any = AutoModelForSeq2SeqLM if arch in SEQ2SEQ else AutoModelForSequenceClassification
    sized = {} if arch in SEQ2SEQ else {"num_labels": 3}
    model = loader.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager", **sized)
    if arch in SEQ2SEQ:
        _exact(model, torch.float64)
    return model.eval().requires_grad_(False)


def oracle(folder: Path, arch: str, adapter: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """(the model that the folder describes, its trained tensors by saved name)."""
    model, weights = plain(folder, arch), load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    if not config["peft_type"].startswith("LUTHIER_"):
        from peft import PeftModel

        wrapped: Any = PeftModel.from_pretrained(model, adapter, is_trainable=True, autocast_adapter_dtype=False).double().eval()
        short = {n.replace(".modules_to_save.default", "").removesuffix(".weight"): p for n, p in wrapped.named_parameters()}
        by_name = {n.removesuffix(".default"): p for n, p in short.items()}
        return wrapped, {n: by_name[n.removesuffix(".weight")].requires_grad_(True) for n in weights}
    parameters, tensors = dict(model.named_parameters()), {}
    for name, tensor in weights.items():
        module, _, last = name.removeprefix(PREFIX).rpartition(".")
        tensors[name] = parameters.get(name.removeprefix(PREFIX), torch.nn.Parameter(tensor.double())).requires_grad_(True)
        tensors[name].data.copy_(tensor)
        if last == "bias" and "adapter_" not in module:  # also one that the architecture has not
            setattr(model.get_submodule(module), last, tensors[name])
    for name in {n.removeprefix(PREFIX).partition(".adapter_")[0] for n in weights if ".adapter_" in n}:
        parts = [tensors[f"{PREFIX}{name}.adapter_{part}"] for part in ("down.weight", "down.bias", "up.weight", "up.bias")]
        model.get_submodule(name).register_forward_hook(lambda module, args, y, parts=parts: y + network(y, *parts))
    return model, tensors


def network(y: torch.Tensor, down: torch.Tensor, first: torch.Tensor, up: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return torch.relu(y @ down.T + first) @ up.T + second


def loss_of(model: Any, folder: Path, arch: str, rows: list[TokenSequence]) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for s, (_, answer) in zip(rows, ROWS["seq2seq" if arch in SEQ2SEQ else "encoder"], strict=True):
        source, target = (torch.from_numpy(s.tokens[(s.weights != 0) == side].astype(np.int64))[None] for side in (False, True))
        if arch in SEQ2SEQ:
            total = total + model(input_ids=source, labels=target).loss * target.shape[1]
        else:
            total = total + model(input_ids=source, labels=torch.tensor([LABELS.labels.index(answer)])).loss
    return total / 4.0


@pytest.mark.parametrize(("arch", "kind"), CASES)
def test_loss_and_gradients_are_those_of_the_saved_folder(folders: dict[str, Path], arch: str, kind: str, tmp_path: Path) -> None:
    folder, rows = folders[arch], rows_of(folders[arch], arch)
    engine = moved(load(folder, arch, spec_of(kind)))
    found = engine.forward_backward(Batch(tuple(rows), 4.0), SFT())
    gradients = engine.gradients()
    engine.save_adapter(tmp_path / "adapter", "toy")
    model, tensors = oracle(folder, arch, tmp_path / "adapter")
    loss = loss_of(model, folder, arch, rows)
    loss.backward()
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-12)
    assert set(gradients) == set(tensors)
    whole = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients.values()])))
    assert whole > 0
    for name, tensor in tensors.items():
        wanted = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        assert float(torch.linalg.vector_norm(gradients[name] - wanted)) <= 1e-10 * whole, name
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["task_type"] == ("SEQ_2_SEQ_LM" if arch in SEQ2SEQ else "SEQ_CLS")
    assert config["peft_type"].startswith("LUTHIER_") == (kind not in IN_PEFT)


@pytest.mark.parametrize("kind", OF_HEADED)
@pytest.mark.parametrize("arch", ["bert", *SEQ2SEQ])
def test_it_starts_as_the_base_and_a_saved_one_is_loaded_again(folders: dict[str, Path], arch: str, kind: str, tmp_path: Path) -> None:
    folder, rows = folders[arch], rows_of(folders[arch], arch)
    engine = load(folder, arch, spec_of(kind))
    bare = load(folder, arch, None)  # the head of an encoder has the start that the seed gives it
    for fresh, base in zip(engine.logprobs(rows), bare.logprobs(rows), strict=True):
        assert fresh == pytest.approx(base, abs=1e-12)
    moved(engine).save_adapter(tmp_path / "adapter", "toy")
    again = load(folder, arch, tmp_path / "adapter", seed=99)
    assert set(again.state()) == set(engine.state())
    for one, other in zip(engine.logprobs(rows), again.logprobs(rows), strict=True):
        assert one == pytest.approx(other, abs=1e-12)
    assert max(np.abs(a - b).max() for a, b in zip(engine.logprobs(rows), bare.logprobs(rows), strict=True)) > 1e-4


@pytest.mark.parametrize(("arch", "kind"), MERGED)
def test_merged_it_is_the_same_model(folders: dict[str, Path], arch: str, kind: str, tmp_path: Path) -> None:
    spec = known_methods()["bitfit"]().spec() if kind == "bitfit" else spec_of(kind)
    moved(load(folders[arch], arch, spec)).save_adapter(tmp_path / "adapter", "toy")
    read = [torch.from_numpy(s.tokens[s.weights == 0].astype(np.int64))[None] for s in rows_of(folders[arch], arch)]

    def outputs(model: Any) -> list[torch.Tensor]:
        given = {"decoder_input_ids": torch.tensor([[0, 5, 6]])} if arch in SEQ2SEQ else {}
        with torch.no_grad():
            return [model(input_ids=ids, **given).logits for ids in read]

    model = load_tuned_headed(folders[arch], tmp_path / "adapter", None if arch in SEQ2SEQ else 3)
    beside = outputs(model)
    for one, other in zip(beside, outputs(merge(model)), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_what_is_trained_is_what_the_method_says(folders: dict[str, Path]) -> None:
    def names(arch: str, kind: str, **settings: Any) -> set[str]:
        state = load(folders[arch], arch, spec_of(kind, **settings)).state()
        return {n.removeprefix(f"adapter.{PREFIX}") for n in state if n.startswith("adapter.")}

    head = {"classifier.weight", "classifier.bias"}
    assert {n for n in names("bert", "last_layers", layers=1) - head if ".layer.1." not in n} == set()
    for arch, stack, final in (("t5", "decoder.block.1.", "decoder.final_layer_norm."), ("bart", "model.decoder.layers.1.", "-")):
        assert all(n.startswith((stack, final)) for n in names(arch, "last_layers", layers=1))
    assert all(n.endswith(".bias") or n in head for n in names("bert", "bitfit"))
    scaled = {n for n in names("bert", "ia3") if n.endswith("ia3_l")}
    ends = ("attention.self.key", "attention.self.value", "output.dense")
    assert scaled == {f"bert.encoder.layer.{i}.{end}.ia3_l" for i in (0, 1) for end in ends}
    places = {n.partition(".adapter_")[0] for n in names("t5", "bottleneck", size=4) if ".encoder" in f".{n}"}
    parts = ("0.SelfAttention.o", "1.DenseReluDense.wo")
    assert places == {f"encoder.block.{i}.layer.{part}" for i in (0, 1) for part in parts}


@pytest.mark.parametrize("kind", sorted(set(known_methods()) - set(OF_HEADED)))
@pytest.mark.parametrize("arch", ["bert", "t5"])
def test_what_they_cannot_take_is_refused_with_what_they_can(folders: dict[str, Path], arch: str, kind: str) -> None:
    what = {"bert": "an encoder", "t5": "an encoder-decoder"}[arch]
    with pytest.raises(UserError, match=f"{what} is trained with lora, dora, ia3, bottleneck, bitfit, last_layers or full, got {kind}"):
        load(folders[arch], arch, spec_of(kind, **{"qlora": {"stored": "q8_0"}}.get(kind, {})))


def test_a_setting_that_does_not_fit_is_told_before_and_at_loading_in_the_same_words(folders: dict[str, Path]) -> None:
    for arch, kind, settings, said in (
        ("bert", "last_layers", {"layers": 9}, "it has 2"),
        ("bart", "last_layers", {"layers": 9}, "it has 2"),
        ("t5", "bitfit", {}, "`create: true` gives its linear layers biases"),
        ("t5", "dora", {"rank": 99}, "`rank` must be at most"),
    ):
        spec = known_methods()[kind](**settings).spec()
        with pytest.raises(UserError) as late:
            load(folders[arch], arch, spec)
        with pytest.raises(UserError) as early:
            check_method(folders[arch], "seq2seq" if arch in SEQ2SEQ else "encoder", spec)
        assert str(early.value) == str(late.value)
        assert said in str(late.value)
