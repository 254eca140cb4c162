"""The kind of a base is read from its config.json and said aloud."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.engine.models.cache import HashMemory
from luthier.engine.models.embedded import EMBEDDED
from luthier.engine.models.folders import read_folder
from luthier.engine.models.kinds import describe_kind, kind_of, peek_kind, positions_taken
from luthier.engine.models.resolve import resolve
from toy_encoders import make_toy_encoder, make_toy_seq2seq


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "llama"}, "decoder"),
        ({"model_type": "bert"}, "encoder"),
        ({"model_type": "bert", "is_decoder": True}, "decoder"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "seq2seq"),
        ({"model_type": "unheard-of"}, "decoder"),
    ],
)
def test_the_config_says_the_kind(config: dict[str, object], kind: str) -> None:
    assert kind_of(config) == kind


def test_a_folder_says_its_kind_and_its_longest_text(tmp_path: Path) -> None:
    bert, roberta = make_toy_encoder(tmp_path / "bert"), make_toy_encoder(tmp_path / "roberta", "roberta")
    t5 = make_toy_seq2seq(tmp_path / "t5")
    facts = [read_folder(folder, HashMemory(tmp_path)) for folder in (bert, roberta, t5)]
    assert [f.kind for f in facts] == ["encoder", "encoder", "seq2seq"]
    assert [f.context_length for f in facts] == [64, 64, 0]
    assert resolve(str(bert), tmp_path).artifact().kind == "encoder"
    assert positions_taken({"model_type": "roberta", "pad_token_id": 1}) == 2


def test_a_base_is_described_before_it_is_built(tmp_path: Path) -> None:
    folder = make_toy_encoder(tmp_path / "mine")
    kind, said = peek_kind(str(folder))
    assert kind == "encoder"
    assert said.startswith("mine is an encoder (BertModel, by its config.json): ")
    assert peek_kind("minilm-l6")[1].startswith("minilm-l6 is an encoder")
    assert peek_kind("smollm2-135m-instruct") == ("decoder", "")
    assert peek_kind("owner/model") == ("decoder", "")
    assert "encoder-decoder" in describe_kind("x", "seq2seq", "T5")


def test_the_table_of_embedded_models_agrees_with_their_configs() -> None:
    from luthier.engine.models.cache import cache_root
    from luthier.engine.models.converted import embedded_folder

    for entry in EMBEDDED:
        file = embedded_folder(entry, cache_root(None)) / "config.json"
        if not file.is_file():
            pytest.skip(f"{entry.name} is not in the cache")
        assert kind_of(json.loads(file.read_text())) == entry.kind
