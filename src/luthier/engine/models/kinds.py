"""The kind of a base model: decoder, encoder or encoder-decoder, told by its own config.json.

One decision: the kind is read, never guessed: an encoder's `model_type` is in the table below, an encoder-decoder says so
(`is_encoder_decoder`), and everything else is offered to the decoder engines, which refuse what they cannot load. What was
found is in the base's artifact, and `luthier plan` says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

ModelKind = Literal["decoder", "encoder", "seq2seq"]
ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta", "electra", "mpnet")
"""The types whose classification head transformers has and the parity tests cover."""
_SHIFTED = ("roberta", "xlm-roberta", "mpnet")
WORDS: dict[str, str] = {"decoder": "a decoder", "encoder": "an encoder", "seq2seq": "an encoder-decoder"}


def kind_of(config: Mapping[str, Any]) -> ModelKind:
    """The kind that a config.json says."""
    if config.get("is_encoder_decoder"):
        return "seq2seq"
    if config.get("model_type") in ENCODERS and not config.get("is_decoder"):
        return "encoder"
    return "decoder"


def positions_taken(config: Mapping[str, Any]) -> int:
    """Positions of the model's table that no text can use: RoBERTa's family begins to count behind its padding token."""
    return int(config.get("pad_token_id") or 0) + 1 if config.get("model_type") in _SHIFTED else 0


def folder_kind(folder: Path) -> ModelKind:
    """The kind of the model in `folder`. Raises UserError when there is no usable config.json."""
    from luthier.engine.models.folders import read_config

    return kind_of(read_config(folder))


def peek_kind(name: str) -> tuple[ModelKind, str]:
    """Kind and `describe_kind` of a base that has not been fetched or built, where they can be known; (decoder, empty) otherwise."""
    from luthier.engine.models.embedded import embedded_named

    entry, folder = embedded_named(name), Path(name).expanduser()
    if entry is not None:
        return entry.kind, describe_kind(name, entry.kind, entry.architecture)
    if not (folder / "config.json").is_file():
        return "decoder", ""
    from luthier.engine.models.folders import read_config

    config = read_config(folder)
    kind = kind_of(config)
    return kind, describe_kind(folder.name, kind, str((config.get("architectures") or [config.get("model_type")])[0]))


def describe_kind(name: str, kind: str, architecture: str) -> str:
    """What `luthier plan` and a run's log say of a base that is no chat model; empty for a decoder."""
    if kind == "encoder":
        what = "a new head for the project's answers is trained on it; its opponents are a constant answer and a linear probe"
    elif kind == "seq2seq":
        what = "it reads the prompt and writes the answer; it is asked with plain text, without a chat template"
    else:
        return ""
    return f"{name} is {WORDS[kind]} ({architecture}, by its config.json): {what}"
