"""Quantised weights: what is stored is what is computed with, nothing dequantised is kept, and PEFT over bitsandbytes agrees."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import as_batch, packed
from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.engine.methods.qlora import QLoRASpec
from luthier.engine.methods.stored import FORMS, GGUF_FORMS, GgufWeight, QuantLinear, quantised, read_blocks
from luthier.engine.models.resolve import resolve
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from toy_models import make_toy_base

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))

from gguf_toys import write_gguf

REFERENCE = Execution(engine="reference")
BITS = {"nf4": 4.5, "q4_0": 4.5, "q4_1": 5.0, "q5_0": 5.5, "q5_1": 6.0, "q8_0": 8.5}
ERROR = {"nf4": 0.11, "q4_0": 0.12, "q4_1": 0.1, "q5_0": 0.06, "q5_1": 0.05, "q8_0": 0.01}
"""Root mean square error of normal values over their deviation: a bound that each form's number of levels gives."""


@pytest.fixture(scope="module")
def weight() -> torch.Tensor:
    return torch.randn(48, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("form", FORMS)
def test_a_form_takes_its_bits_and_keeps_its_error(weight: torch.Tensor, form: str) -> None:
    stored = quantised(weight, form, "w")
    assert stored.num_bytes * 8 / weight.numel() == BITS[form]
    found = stored.dequantise(torch.float32)
    assert found.shape == weight.shape
    assert float((found - weight).square().mean().sqrt()) < ERROR[form]
    again = quantised(found, form, "w").dequantise(torch.float32)
    assert float((again - found).abs().max()) <= 1e-6 * float(found.abs().max())


@pytest.mark.parametrize("form", FORMS)
def test_a_product_keeps_nothing_dequantised(weight: torch.Tensor, form: str) -> None:
    stored = quantised(weight, form, "w")
    bias = torch.nn.Parameter(torch.randn(48), requires_grad=False)
    linear = QuantLinear(stored, (48, 64), bias)
    x = torch.randn(5, 64, requires_grad=True)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = linear(x)
    plain = x.detach() @ stored.dequantise(torch.float32).t() + bias
    assert torch.equal(y, plain)
    assert not kept
    (d_x,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert torch.allclose(d_x, torch.ones(5, 48) @ stored.dequantise(torch.float32))
    assert not list(linear.buffers())


def test_peft_over_bitsandbytes_gives_the_same_logits_and_gradients(tmp_path: Path) -> None:
    """PEFT's own QLoRA: LoRA on `bnb.nn.Linear4bit`, whose double quantisation of scales is off as it is here."""
    import bitsandbytes as bnb
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = make_toy_base(tmp_path / "base", hidden=64)
    engine = load_engine(folder, QLoRASpec(4, 8.0), REFERENCE, 3)
    state = {k: v + 0.1 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1)) for k, v in engine.state().items()}
    engine.load_state(state)
    engine.save_adapter(tmp_path / "adapter")
    base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, module in list(base.model.named_modules()):
        if isinstance(module, torch.nn.Linear):
            four = bnb.nn.Linear4bit(
                module.in_features, module.out_features, False, torch.float32, compress_statistics=False, quant_type="nf4"
            )
            four.weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False, compress_statistics=False, quant_type="nf4").to("cpu")
            parent, _, last = name.rpartition(".")
            setattr(base.model.get_submodule(parent), last, four.to("cpu"))
    base.is_loaded_in_4bit = True
    theirs: Any = PeftModel.from_pretrained(base, str(tmp_path / "adapter"), is_trainable=True)
    batch = as_batch(packed())
    engine.forward_backward(batch, SFT())
    loss = torch.zeros(())
    for s in batch.sequences:
        where, tokens = np.flatnonzero(s.weights), torch.from_numpy(s.tokens.astype(np.int64))
        rows = theirs(tokens[None]).logits[0].log_softmax(-1)[where - 1, tokens[where]]
        loss = loss - (rows * torch.from_numpy(s.weights[where])).sum()
    (loss / batch.normaliser).backward()
    wanted = {n.replace(".default.weight", ".weight"): p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    found = engine.gradients()
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert torch.allclose(gradient, wanted[name], atol=1e-4 * float(wanted[name].abs().max())), name


@pytest.mark.parametrize("quant", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_the_blocks_of_a_gguf_file_are_kept_as_they_are(tmp_path: Path, quant: str, arch: str) -> None:
    """A base made from the file, and QLoRA on the file's own blocks, start with the same numbers."""
    toy = make_toy_base(tmp_path / "toy", arch=arch, hidden=32)
    file = write_gguf(toy, tmp_path / "toy.gguf", quant=quant)
    folder = resolve(str(file), tmp_path / "cache").folder
    engine = load_engine(folder, QLoRASpec(4, 8.0, stored=str(file)), REFERENCE, 0)
    base = load_engine(folder, None, REFERENCE, 0)
    for ours, theirs in zip(engine.logprobs(packed()), base.logprobs(packed()), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    engine.save_adapter(tmp_path / "adapter")
    assert load_engine(folder, None, REFERENCE, 0, tmp_path / "adapter").num_trainable == engine.num_trainable
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match="the one that the adapter was trained on"):
        load_engine(folder, None, REFERENCE, 0, tmp_path / "adapter")


def test_the_blocks_of_another_model_are_refused(tmp_path: Path) -> None:
    toy, other = make_toy_base(tmp_path / "toy"), make_toy_base(tmp_path / "other", seed=4)
    file = write_gguf(other, tmp_path / "other.gguf", quant="Q8_0")
    with pytest.raises(UserError, match="must be the one that was made from"):
        load_engine(toy, QLoRASpec(4, 8.0, stored=str(file)), REFERENCE, 0)


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_k_quants_are_read_from_a_file(tmp_path: Path, kind: str) -> None:
    """Nothing here writes K-quants, so the blocks are random bytes with scales that are finite."""
    import gguf

    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    assert block == 256
    data = np.random.default_rng(0).integers(0, 60, (8, 2 * size), dtype=np.uint8)  # 60 << 8: a float16 of about one
    toy = make_toy_base(tmp_path / "toy", arch="qwen2")
    path = write_gguf(toy, tmp_path / "k.gguf", quant="F32", drop="blk.0.ffn_down.weight")
    reader = gguf.GGUFReader(str(path))
    writer = gguf.GGUFWriter(tmp_path / "mixed.gguf", "qwen2")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kinds = {"vtype": field.types[0]} | ({"sub_type": field.types[-1]} if len(field.types) > 1 else {})
            writer.add_key_value(field.name, field.contents(), **kinds)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.add_tensor("blk.0.ffn_down.weight", data, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_blocks(tmp_path / "mixed.gguf")
    assert set(found) == {"model.layers.0.mlp.down_proj"}
    values = found["model.layers.0.mlp.down_proj"].dequantise(torch.float32)
    assert values.shape == (8, 512)
    assert torch.isfinite(values).all()
    assert torch.equal(values, GgufWeight(data, kind).dequantise(torch.float32))


def test_the_embedded_base_is_stored_in_its_own_form_without_loss() -> None:
    """Its file holds Q4_1 blocks: cut into blocks again, the dequantised weights give the same numbers bit for bit."""
    from safetensors import safe_open

    folder = resolve("smollm2-135m-instruct", allow_network=False).folder
    with safe_open(folder / "model.safetensors", "pt") as f:
        for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.29.mlp.down_proj.weight"):
            weight = f.get_tensor(name)
            assert torch.equal(quantised(weight, "q4_1", name).dequantise(torch.float32), weight)
            assert not torch.equal(quantised(weight, "q4_0", name).dequantise(torch.float32), weight)


def test_forms_are_those_of_the_project_file() -> None:
    from typing import get_args

    from luthier.parts.methods.qlora import QLoRA

    names = get_args(get_args(QLoRA.model_fields["stored"].annotation)[0])
    assert names == FORMS == ("nf4", *GGUF_FORMS)
