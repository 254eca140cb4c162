"""What the fast engine refuses, with its reason, and how far a model reaches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.core.errors import EngineRefused
from luthier.engine.fast.architecture import from_config, read_architecture
from luthier.engine.fast.stated import stated_config
from toys import FAMILIES, toy_config


def test_every_family_is_taken() -> None:
    assert {from_config(toy_config(family), "here").family for family in FAMILIES} == {
        "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3"
    }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_that_states_all_is_read_without_transformers_and_gives_the_same(tmp_path: Path, family: str) -> None:
    config = toy_config(family)
    config.save_pretrained(tmp_path)
    stated = stated_config(tmp_path)
    scaled = family in ("llama-rope3", "llama-linear", "phi3-long")  # left to transformers, which checks their parameters
    assert (stated is None) == scaled
    from transformers import AutoConfig

    wanted = from_config(AutoConfig.from_pretrained(tmp_path), "here")
    assert read_architecture(tmp_path) == wanted
    assert stated is None or from_config(stated, "here") == wanted


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "phi3"])
def test_a_field_that_is_missing_or_of_another_form_is_left_to_transformers(tmp_path: Path, family: str) -> None:
    from transformers import AutoConfig

    toy_config(family).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    wanted = ("hidden_size", "rms_norm_eps", "num_key_value_heads", "tie_word_embeddings", "rope_parameters", "max_position_embeddings")
    for name in wanted:
        for changed in ({k: v for k, v in whole.items() if k != name}, whole | {name: "8"}, whole | {name: None}):
            file.write_text(json.dumps(changed), encoding="utf-8")
            assert stated_config(tmp_path) is None, (name, changed.get(name))
    for older in ({"rope_theta": 5e5}, {"rope_scaling": {"type": "linear", "factor": 2.0}}, {"auto_map": {"AutoConfig": "x.Y"}}):
        file.write_text(json.dumps(whole | older), encoding="utf-8")
        assert stated_config(tmp_path) is None
    file.write_text("[" * 100_000, encoding="utf-8")
    assert stated_config(tmp_path) is None
    file.write_text(json.dumps({k: v for k, v in whole.items() if k != "rope_parameters"} | {"rope_theta": 777.0}), encoding="utf-8")
    assert read_architecture(tmp_path) == from_config(AutoConfig.from_pretrained(tmp_path), "here")


def test_training_on_the_fast_engine_imports_neither_transformers_nor_a_compiler(toy_base: Path) -> None:
    """Seconds of every command's start, and some hundred megabytes."""
    code = f"""
import sys
from pathlib import Path
import numpy as np
from luthier.core.execution import Execution
from luthier.engine.contract import Batch, Sampling, TokenSequence
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
engine = load_engine(Path({str(toy_base)!r}), LoRASpec(2, 4.0), Execution(), 0)
row = TokenSequence(np.arange(9, dtype=np.int32), np.array([0] + [1] * 8, np.float32))
engine.forward_backward(Batch((row,), 8.0), SFT())
engine.optim_step(1e-3)
engine.sample([row.tokens], Sampling(2))
assert engine.name == "fast"
assert not {{"transformers", "peft", "torch._dynamo", "sympy"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_longrope_reaches_as_far_as_its_short_range() -> None:
    assert toy_config("phi3-long").max_position_embeddings == 1024
    assert from_config(toy_config("phi3-long"), "here").longest == 256


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("llama", {"hidden_act": "relu"}, "hidden_act='relu'"),
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type='dynamic'"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("qwen3", {"layer_types": ["full_attention", "chunked_attention"]}, "layer_types"),
    ],
)
def test_what_would_change_a_number_is_refused_with_its_reason(family: str, changes: dict[str, Any], reason: str) -> None:
    config = toy_config(family)
    for name, value in changes.items():
        setattr(config, name, value)
    with pytest.raises(EngineRefused, match=reason):
        from_config(config, "here")


def test_another_architecture_is_refused_by_name() -> None:
    from transformers import GPT2Config

    with pytest.raises(EngineRefused, match=r"the fast engine computes llama, .*gpt2.*engine=auto"):
        from_config(GPT2Config(), "here")
