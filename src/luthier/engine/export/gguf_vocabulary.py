"""A model folder's tokenizer as GGUF metadata: tokens with their types, merges, special ids, split and chat template.

One decision: the split of the text must be one that GGUF has a name for and that Luthier reads back; a tokenizer that
GGUF cannot state exactly is refused, because a tokenizer that is nearly right is wrong without a sign.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from luthier.core.errors import EngineRefused
from luthier.engine.models.gguf_tokenizer import NORMALISED, SPLITS, pre_tokenizer_of

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_FIX = "export it with `--to merged`"
_PREFERRED = ("gpt-2", "smollm", "llama-bpe", "qwen2")
"""One name for each way of splitting."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What `tokenizer.ggml.*` says. `special` maps bos, eos, pad, unk and eot to ids; types are those of llama.cpp."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    pre: str
    special: dict[str, int]
    add_bos: bool


@dataclass(frozen=True, slots=True)
class Roles:
    """Special tokens by role (`bos_token` ...) and the token that ends a turn."""

    special: dict[str, str]
    end_of_turn: int


def read_vocabulary(data: bytes, roles: Roles, size: int) -> Vocabulary:
    """data: tokenizer.json; size: rows of the embedding matrix (ids without a token become unused ones). Raises EngineRefused."""
    whole = json.loads(data)
    model = whole["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback") or (whole.get("decoder") or {}).get("type") != "ByteLevel":
        raise EngineRefused("a GGUF export needs a byte-level BPE tokenizer", f"{model.get('type')}", "tokenizer.json", _FIX)
    pre = _name_of_split(whole)
    texts = dict(model["vocab"])
    kinds = dict.fromkeys(texts.values(), _NORMAL)
    for token in whole.get("added_tokens", []):
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise EngineRefused("GGUF has no control tokens that take white space with them", token["content"], "tokenizer.json", _FIX)
        texts[token["content"]] = token["id"]
        kinds[token["id"]] = _CONTROL if token["special"] else _USER_DEFINED
    by_id = {i: text for text, i in texts.items()}
    if max(by_id) >= size or len(by_id) != len(texts):
        raise EngineRefused(f"every token id must be below {size} and belong to one token", f"{max(by_id)}", "tokenizer.json")
    special = {role.removesuffix("_token"): texts[text] for role, text in roles.special.items() if text in texts}
    special["eot"] = roles.end_of_turn
    return Vocabulary(
        tokens=tuple(by_id.get(i, f"[PAD{i}]") for i in range(size)),
        types=tuple(kinds.get(i, _UNUSED) for i in range(size)),
        merges=tuple(m if isinstance(m, str) else " ".join(m) for m in model["merges"]),
        pre=pre,
        special=special,
        add_bos=_adds_bos(data, special.get("bos")),
    )


def _adds_bos(data: bytes, bos: int | None) -> bool:
    from tokenizers import Tokenizer

    ids = Tokenizer.from_str(data.decode("utf-8")).encode("x").ids
    return bos is not None and bool(ids) and ids[0] == bos


def _name_of_split(whole: dict[str, Any]) -> str:
    """The name under which `pre_tokenizer_of` gives the same split, normaliser and merging. Raises EngineRefused."""
    normaliser = (whole.get("normalizer") or {}).get("type")
    ignores = bool(whole["model"].get("ignore_merges"))
    given = _plain(whole.get("pre_tokenizer"))
    for name in _PREFERRED:
        ours = json.loads(_as_json(name))
        same_merging = ignores == (SPLITS[name] == SPLITS["llama-bpe"])
        if ours == given and same_merging and normaliser == ("NFC" if name in NORMALISED else None):
            return name
    must = f"a GGUF export needs one of these splits of the text: {', '.join(_PREFERRED)}"
    raise EngineRefused(must, "another one", "tokenizer.json, pre_tokenizer", _FIX)


def _as_json(name: str) -> str:
    """The split `name` as tokenizers writes it, without what changes offsets only."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer_of(name, "")
    return json.dumps(_plain(json.loads(tokenizer.to_str())["pre_tokenizer"]))


def _plain(value: Any) -> Any:
    """The same without `trim_offsets`, and a sequence of one as that one."""
    if isinstance(value, dict):
        if value.get("type") == "Sequence" and len(value["pretokenizers"]) == 1:
            return _plain(value["pretokenizers"][0])
        return {k: _plain(v) for k, v in value.items() if k != "trim_offsets"}
    return [_plain(v) for v in value] if isinstance(value, list) else value
