"""A merged model written as a folder that transformers loads: weights, config, tokenizer, template, generation config.

One decision: merging was done in float32 and the weights are rounded once, here; text files are the base's own bytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import torch

from luthier.core.errors import EngineRefused, MachineError

Dtype = Literal["float32", "float16", "bfloat16"]
_STORED: dict[str, Dtype] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
TEXT_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "vocab.txt", "tokenizer.model", "generation_config.json", "chat_template.jinja", "chat_template.json", "LICENSE", "NOTICE",
)  # fmt: skip


def stored_dtype(dtypes: tuple[str, ...]) -> Dtype:
    """The precision of the base's files. Raises EngineRefused for a mixture, or a type that a merge cannot be rounded to."""
    if len(dtypes) != 1 or dtypes[0] not in _STORED:
        stored = f"weights stored in {', '.join(dtypes)}"
        raise EngineRefused("the precision must be chosen for this base", stored, "--dtype", "give --dtype float32")
    return _STORED[dtypes[0]]


def write_model(folder: Path, model: Any, base: Path, dtype: Dtype) -> None:
    """Write config and safetensors of the merged `model` (float32; rounded in place) and copy the base's text files.

    Raises EngineRefused when a weight does not fit the type, OSError on a full disk.
    """
    precision = getattr(torch, dtype)
    largest = torch.finfo(precision).max
    for name, p in model.named_parameters():
        found = float(p.detach().abs().max())
        if found > largest:
            raise EngineRefused(f"every weight must fit {dtype}", f"{found:g} in {name}", "--dtype", "take bfloat16 or float32")
    rounded = model.to(precision)
    rounded.config.dtype = precision
    _save(rounded, folder)
    (folder / "generation_config.json").unlink(missing_ok=True)  # the base's own file, or none
    for name in TEXT_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def write_template(folder: Path, template: str) -> None:
    """Make `template` the folder's chat template (the file wins over tokenizer_config.json)."""
    (folder / "chat_template.jinja").write_bytes(template.encode("utf-8"))


def write_card(folder: Path, lines: dict[str, str], licence: str) -> None:
    """A README.md that says what the folder is."""
    body = "\n".join(f"- {name}: {value}" for name, value in lines.items())
    text = f"---\nlicense: {json.dumps(licence)}\n---\n# {folder_title(lines)}\n\n{body}\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def folder_title(lines: dict[str, str]) -> str:
    """The card's first heading."""
    return lines.get("model", "exported model")


def _save(model: Any, folder: Path) -> None:
    """transformers' own writer, sharded above 4 GB. Raises OSError with its number on a full disk (safetensors has an error of its own)."""
    from safetensors import SafetensorError
    from transformers import GenerationConfig

    from luthier.engine.export.loading import quiet_libraries

    model.generation_config = GenerationConfig()
    try:
        with quiet_libraries():
            model.save_pretrained(folder, max_shard_size="4GB")
    except SafetensorError as err:
        number = re.search(r"os error (\d+)", str(err))
        if number is None:
            raise MachineError(f"the weights could not be written to {folder}: {err}") from None
        raise OSError(int(number.group(1)), os.strerror(int(number.group(1))), str(folder)) from None
