"""A base with room for the examples' prompts: a byte-like vocabulary makes 77 intents thousands of tokens long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def roomy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy llama with a context of 8192 tokens."""
    from toy_models import make_toy_base

    folder = make_toy_base(tmp_path_factory.mktemp("toy") / "roomy")
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        body = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**body, key: 8192}))
    return folder


@pytest.fixture(scope="session")
def toy_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT."""
    from toy_encoders import make_toy_encoder

    return make_toy_encoder(tmp_path_factory.mktemp("toy") / "encoder")
