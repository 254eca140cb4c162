"""What the fast engine refuses, with its reason, and how far a model reaches."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.core.errors import EngineRefused
from luthier.engine.fast.architecture import from_config
from toys import FAMILIES, toy_config


def test_every_family_is_taken() -> None:
    assert {from_config(toy_config(family), "here").family for family in FAMILIES} == {
        "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3"
    }  # fmt: skip


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

    with pytest.raises(EngineRefused, match=r"the fast engine computes llama, .*gpt2.*engine=generic"):
        from_config(GPT2Config(), "here")
