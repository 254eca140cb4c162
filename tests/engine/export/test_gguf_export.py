"""GGUF files written by the export: read back by Luthier's own reader, by the gguf package and by transformers, for each family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from luthier.core.errors import EngineRefused
from luthier.engine.export import gguf_file, q4_k
from luthier.engine.export.gguf_file import GgufText, write_gguf
from luthier.engine.export.gguf_vocabulary import Roles, Vocabulary, read_vocabulary
from luthier.engine.export.loading import load_plain
from luthier.engine.models.converted import convert_gguf
from luthier.engine.models.resolve import quiet
from luthier.engine.text.renderer import Renderer
from toy_models import make_toy_base

FAMILIES = (("llama", 64), ("mistral", 64), ("qwen2", 64), ("qwen3", 512))
"""qwen3 at a head size of 128: transformers takes no other from a GGUF file."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A toy base of each family."""
    root = tmp_path_factory.mktemp("families")
    made = {}
    for arch, hidden in FAMILIES:
        made[arch] = make_toy_base(root / arch, arch=arch, hidden=hidden)
        settings = json.loads((made[arch] / "config.json").read_text()) | ({"sliding_window": None} if arch == "mistral" else {})
        (made[arch] / "config.json").write_text(json.dumps(settings))
    return made


def vocabulary_of(base: Path) -> tuple[Vocabulary, Renderer]:
    renderer = Renderer.from_model(base)
    return read_vocabulary(renderer.tokenizer.data, Roles(dict(renderer.style.special), renderer.end_of_turn), 300), renderer


def written(base: Path, path: Path, kind: Any) -> gguf_file.Stored:
    vocabulary, renderer = vocabulary_of(base)
    return write_gguf(path, load_plain(base), GgufText("toy", "mit", vocabulary, renderer.style.template), kind, lambda done, total: None)


@pytest.mark.parametrize("arch", [a for a, _ in FAMILIES])
def test_our_reader_and_transformers_give_the_tensors_that_were_written(arch: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """F16: each weight is the float16 of the base's, whichever program reads it, so q and k are in the right order for both."""
    written(bases[arch], tmp_path / "toy.gguf", "f16")
    (tmp_path / "ours").mkdir()
    convert_gguf(tmp_path / "toy.gguf", tmp_path / "ours", quiet)
    wanted, ours = load_file(bases[arch] / "model.safetensors"), load_file(tmp_path / "ours" / "model.safetensors")
    theirs = load_plain(tmp_path, "toy.gguf").state_dict()
    assert wanted.keys() == ours.keys()
    for name, values in wanted.items():
        rounded = values.astype(np.float16).astype(np.float32) if values.ndim == 2 else values
        assert np.array_equal(ours[name], rounded), name
        assert np.array_equal(theirs[name].numpy(), rounded), name


@pytest.mark.parametrize(("kind", "error"), [("q8_0", 1 / 127), ("q4_0", 1 / 7)])
def test_quantised_tensors_are_within_half_a_level(kind: str, error: float, bases: dict[str, Path], tmp_path: Path) -> None:
    """Q8_0 rounds to scale x [-127, 127], Q4_0 to scale x [-8, 7] with scale = peak / -8: the scale's own float16 rounding comes on top."""
    stored = written(bases["llama"], tmp_path / "toy.gguf", kind)
    assert stored.counts[kind.upper()] >= 14
    reader = gguf.GGUFReader(tmp_path / "toy.gguf")
    found = {t.name: t for t in reader.tensors}
    wanted = load_file(bases["llama"] / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    tensor = found["blk.1.ffn_down.weight"]
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    peaks = np.abs(wanted.reshape(*wanted.shape[:-1], -1, 32)).max(-1)
    worst = np.abs(values - wanted).reshape(*wanted.shape[:-1], -1, 32).max(-1)
    assert np.all(worst <= peaks * error * 1.01)
    assert worst.max() > 0


def test_what_a_type_cannot_hold_is_stored_finer_and_named(tmp_path: Path) -> None:
    base = make_toy_base(tmp_path / "base", hidden=40)
    stored = written(base, tmp_path / "toy.gguf", "q4_0")
    assert stored.counts == {"F16": 15, "F32": 5}
    assert all("not a multiple of 32" in line for line in stored.exceptions)
    assert len(stored.exceptions) == 15


def spread(kind: str) -> np.ndarray:
    """Rows of two super-blocks: float32 [24, 512]."""
    rng = np.random.default_rng(5)
    draw = {
        "normal": lambda: rng.normal(size=(24, 512)),
        "heavy tails": lambda: rng.standard_t(3, size=(24, 512)),
        "above zero": lambda: np.abs(rng.normal(size=(24, 512))) + 1,
        "below zero": lambda: -np.abs(rng.normal(size=(24, 512))) - 1,
        "equal": lambda: np.full((24, 512), -5.0),
        "zero": lambda: np.zeros((24, 512)),
        "an outlier": lambda: np.where(rng.random((24, 512)) < 0.01, 100, rng.normal(size=(24, 512))),
        "sub-blocks of many sizes": lambda: rng.normal(size=(24, 512)) * np.exp(2 * rng.normal(size=(24, 16))).repeat(32, 1),
    }
    return draw[kind]().astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["normal", "heavy tails", "above zero", "below zero", "equal", "zero", "an outlier", "sub-blocks of many sizes"]
)
def test_q4_k_is_within_a_level_as_the_gguf_package_reads_it(kind: str) -> None:
    """A sub-block has 16 levels over its range (0 included); its scale and minimum are rounded to 1/63 of the largest beside it."""
    wanted = spread(kind)
    blocks = q4_k.quantise(wanted)
    assert (blocks.dtype, blocks.shape) == (np.uint8, (24, 2 * 144))
    values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.Q4_K)
    parts = wanted.reshape(-1, 8, 32)
    width = np.maximum(parts.max(-1), 0) - np.minimum(parts.min(-1), 0)
    worst = np.abs(values.reshape(parts.shape) - parts).max(-1)
    assert np.all(worst <= width / 15 + width.max(-1, keepdims=True) / 63)


@pytest.mark.parametrize("kind", ["normal", "heavy tails"])
def test_q4_k_loses_less_than_the_other_types_of_its_size(kind: str) -> None:
    wanted = spread(kind)

    def lost(blocks: np.ndarray, stored: gguf.GGMLQuantizationType) -> float:
        return float(((gguf.quants.dequantize(blocks, stored) - wanted) ** 2).mean())

    others = [lost(gguf.quants.quantize(wanted, t), t) for t in (gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q4_1)]
    assert lost(q4_k.quantise(wanted), gguf.GGMLQuantizationType.Q4_K) < 0.9 * min(others)


def test_a_row_that_is_no_whole_super_block_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 256, got 576"):
        q4_k.quantise(np.zeros((2, 576), np.float32))


def test_a_q4_k_file_says_what_is_finer_and_why(tmp_path: Path) -> None:
    """Rows of 128 do not fill a super-block of 256, rows of 256 do."""
    base = make_toy_base(tmp_path / "base", hidden=128)
    stored = written(base, tmp_path / "toy.gguf", "q4_k")
    assert stored.counts == {"Q8_0": 1, "Q5_0": 12, "Q4_K": 2, "F32": 5}
    assert len(stored.exceptions) == 13
    assert "model.layers.*.mlp.up_proj.weight (2 tensors): Q5_0, its rows of 128 are not a multiple of 256" in stored.lines()
    assert stored.lines()[0].startswith("model.embed_tokens.weight: Q8_0")
    assert len(stored.lines()) == 7
    reader = gguf.GGUFReader(tmp_path / "toy.gguf")
    assert reader.fields["general.file_type"].contents() == 14
    found = {t.name: t.tensor_type.name for t in reader.tensors}
    assert (found["blk.1.ffn_down.weight"], found["blk.1.ffn_up.weight"]) == ("Q4_K", "Q5_0")
    theirs = load_plain(tmp_path, "toy.gguf").state_dict()
    wanted = load_file(base / "model.safetensors")
    for name in ("down_proj", "up_proj"):
        whole = f"model.layers.1.mlp.{name}.weight"
        assert 0 < np.abs(theirs[whole].numpy() - wanted[whole]).max() < np.abs(wanted[whole]).max() / 7


def test_the_4_bit_file_keeps_the_embedding_in_8_bits(bases: dict[str, Path], tmp_path: Path) -> None:
    stored = written(bases["llama"], tmp_path / "toy.gguf", "q4_0")
    assert stored.counts["Q8_0"] == 1
    assert "model.embed_tokens.weight: Q8_0" in stored.exceptions[0]


def test_metadata_is_what_an_independent_reader_needs(bases: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    written(bases["llama"], tmp_path / "toy.gguf", "q8_0")
    fields = gguf.GGUFReader(tmp_path / "toy.gguf").fields
    contents = {k: fields[k].contents() for k in fields}
    assert contents["general.architecture"] == "llama"
    assert contents["general.file_type"] == 7
    assert contents["tokenizer.ggml.pre"] == "gpt-2"
    assert contents["tokenizer.ggml.eos_token_id"] == contents["tokenizer.ggml.eot_token_id"] == 2
    assert contents["tokenizer.ggml.add_bos_token"] is False
    assert len(contents["tokenizer.ggml.tokens"]) == 300
    assert contents["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path, gguf_file="toy.gguf"), AutoTokenizer.from_pretrained(bases["llama"])
    for text in ("My card was stolen, 12 times", "naïve — 日本語 🙂", "  two  spaces\n"):
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours(text, add_special_tokens=False)["input_ids"]
    assert theirs.chat_template == ours.chat_template


def test_an_embedding_longer_than_the_vocabulary_gets_unused_tokens(bases: dict[str, Path]) -> None:
    _, renderer = vocabulary_of(bases["llama"])
    roles = Roles(dict(renderer.style.special), renderer.end_of_turn)
    vocabulary = read_vocabulary(renderer.tokenizer.data, roles, 320)
    assert vocabulary.tokens[300:] == tuple(f"[PAD{i}]" for i in range(300, 320))
    assert set(vocabulary.types[300:]) == {5}
    with pytest.raises(EngineRefused, match="below 299"):
        read_vocabulary(renderer.tokenizer.data, roles, 299)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "architectures"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rotary scaling"),
        ({"model_type": "mistral", "sliding_window": 64}, "sliding window"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"model_type": "qwen3", "head_dim": 16}, "heads of 16"),
    ],
)
def test_what_the_file_could_not_state_is_refused(change: dict[str, Any], message: str) -> None:
    plain = {
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "rope_parameters": {"rope_type": "default"},
    }
    assert gguf_file.architecture_of(plain) == "llama"
    with pytest.raises(EngineRefused, match=message):
        gguf_file.architecture_of(plain | change)


def test_an_unknown_split_of_the_text_is_refused(bases: dict[str, Path]) -> None:
    _, renderer = vocabulary_of(bases["llama"])
    whole = json.loads(renderer.tokenizer.data)
    whole["pre_tokenizer"] = {"type": "Whitespace"}
    with pytest.raises(EngineRefused, match="splits of the text"):
        read_vocabulary(json.dumps(whole).encode(), Roles({}, 2), 300)
    whole["model"]["type"] = "Unigram"
    with pytest.raises(EngineRefused, match="byte-level BPE"):
        read_vocabulary(json.dumps(whole).encode(), Roles({}, 2), 300)


def test_weights_beyond_float16_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    model = load_plain(bases["llama"])
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    vocabulary, renderer = vocabulary_of(bases["llama"])
    with pytest.raises(EngineRefused, match="65504"):
        write_gguf(tmp_path / "x.gguf", model, GgufText("toy", "mit", vocabulary, renderer.style.template), "f16", lambda done, total: None)
