"""What a refusal advises is tried: the engine and the precision that it names take the model and the method."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.select import load_engine
from luthier.parts.methods.loading import known_methods
from toys import save_toy, toy_config

NOT_FAST = ("full", "qlora", "bottleneck", "prompt", "prefix")
SETTINGS = {
    "lora": {"rank": 3},
    "dora": {"rank": 3},
    "qlora": {"rank": 3, "stored": "nf4"},
    "bottleneck": {"size": 4},
    "prompt": {"tokens": 3},
}
SETTINGS |= {"prefix": {"tokens": 3}, "last_layers": {"layers": 1}}
HEAD = {"kind": "lora", "rank": 3, "targets": ["lm_head"]}
EMBEDDING = {"kind": "lora", "rank": 3, "targets": ["embed_tokens"]}
CASES: list[tuple[str, dict[str, Any] | None, str, str]] = [
    *(("llama", {"kind": kind}, "fast", "float32") for kind in NOT_FAST),
    *(("llama", {"kind": kind}, "fast", "bfloat16") for kind in ("full", "dora", "prefix")),
    *((family, {"kind": "last_layers"}, "fast", "float32") for family in ("gemma2", "gemma3", "qwen2", "qwen3")),
    *(("llama", method, "fast", "float32") for method in (HEAD, EMBEDDING)),
    ("llama", HEAD, "auto", "bfloat16"),
    ("llama", {"kind": "lora"}, "generic", "bfloat16"),
    ("llama", {"kind": "lora"}, "reference", "bfloat16"),
    *((family, {"kind": "lora"}, "fast", "float32") for family in ("gpt2", "opt", "falcon", "llama-yarn", "llama-biased", "bloom")),
    *((family, None, engine, "bfloat16") for family in ("gpt2", "bloom") for engine in ("fast", "auto")),
    ("gpt2", None, "generic", "bfloat16"),
    ("bloom", {"kind": "lora"}, "generic", "float32"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """folders(family): a toy of it, made once."""
    root, made = tmp_path_factory.mktemp("advice"), {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = (
                _own(root / family, family) if family in ("llama-yarn", "llama-biased", "bloom") else save_toy(root / family, family)
            )
        return made[family]

    return folder


def _own(folder: Path, family: str) -> Path:
    from transformers import AutoModelForCausalLM, BloomConfig

    if family == "bloom":
        config: Any = BloomConfig(vocab_size=61, hidden_size=48, n_layer=2, n_head=6)
    else:
        config = toy_config("llama")
        config.attention_bias = family == "llama-biased"
        if family == "llama-yarn":
            config.rope_parameters = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 2.0, "original_max_position_embeddings": 128}
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("family", "method", "engine", "dtype"), CASES, ids=str)
def test_the_advised_engine_takes_it(folders: Any, family: str, method: dict[str, Any] | None, engine: Any, dtype: Any) -> None:
    settings = None if method is None else {**SETTINGS.get(method["kind"], {}), **method}
    spec = None if settings is None else known_methods()[settings["kind"]](**{k: v for k, v in settings.items() if k != "kind"}).spec()
    with pytest.raises(EngineRefused) as refused:
        load_engine(folders(family), spec, Execution(engine=engine, threads=1), 3, dtype=dtype)
    fix = refused.value.fix
    advised: Any = dict(re.findall(r"(execution\.engine|train\.precision)=(\w+)", fix))
    assert advised, str(refused.value)
    wanted = Execution(engine=advised.get("execution.engine", engine), threads=1)
    taken = load_engine(folders(family), spec, wanted, 3, dtype=advised.get("train.precision", dtype))
    assert taken.num_trainable > 0 or spec is None


def test_where_no_engine_takes_a_method_none_is_advised(folders: Any) -> None:
    for engine in ("auto", "generic", "reference"):
        with pytest.raises(UserError) as refused:
            load_engine(folders("falcon"), known_methods()["prefix"](tokens=3).spec(), Execution(engine=engine, threads=1), 3)
        assert "execution.engine" not in str(refused.value)
