"""What a model folder says about its text: the chat template, the special tokens, where a generation ends.

One decision: `chat_template.jinja` wins over `tokenizer_config.json`, as in transformers; of several named
templates the one called `default` is the chat template.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError, from_os_error

SPECIAL_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one when the file is absent. Raises UserError when it is something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise from_os_error(err, "reading the model's") from None
    except (ValueError, RecursionError) as err:
        raise UserError("the file must be JSON", str(err)[:120], str(path)) from None
    if not isinstance(data, dict):
        raise UserError("the file must be a JSON object", type(data).__name__, str(path))
    return data


def read_template(folder: Path) -> str | None:
    """The model's chat template, or None when it has none."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        try:
            return own.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise UserError("the chat template must be UTF-8 text", type(err).__name__, str(own)) from None
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = read_object(folder / name).get("chat_template")
        if isinstance(found, str):
            return found
        if isinstance(found, list):
            return _named_default(found, f"{folder / name}")
        if found is not None:
            raise UserError("a chat template must be text or a list of named texts", type(found).__name__, str(folder / name))
    return None


def _named_default(found: list[Any], where: str) -> str:
    texts = {str(t.get("name")): t.get("template") for t in found if isinstance(t, dict)}
    if not isinstance(texts.get("default"), str):
        raise UserError("one of the named chat templates must be `default`", ", ".join(texts) or "none", where)
    return str(texts["default"])


def read_special_tokens(folder: Path) -> dict[str, str]:
    """The special tokens by role (`eos_token` ...), as texts: what a template sees under these names."""
    config = read_object(folder / "special_tokens_map.json") | read_object(folder / "tokenizer_config.json")
    found = {}
    for name in SPECIAL_NAMES:
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str) and text:
            found[name] = text
    return found


def read_stop_ids(folder: Path) -> tuple[int, ...]:
    """The token ids that end a generation: generation_config.json, else config.json; none when neither says."""
    for name in ("generation_config.json", "config.json"):
        value = read_object(folder / name).get("eos_token_id")
        ids = value if isinstance(value, list) else [value]
        if all(type(i) is int for i in ids):
            return tuple(int(i) for i in ids if i is not None)
    return ()
