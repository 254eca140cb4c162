"""What `luthier models list` and `luthier models show` say: the known models, and every fact about one of them.

One decision: listing never fetches, converts or hashes anything; it reads the table and the manifests of the cache.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.engine.models.cache import MANIFEST, HashMemory, cache_root
from luthier.engine.models.converted import embedded_folder
from luthier.engine.models.embedded import EMBEDDED, embedded_named
from luthier.engine.models.folders import read_config, read_folder, read_json
from luthier.engine.models.resolve import ModelInfo, resolve
from luthier.engine.text.files import read_template


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One line of the list. `bytes_on_disk` is 0 and `folder` empty when the model is not in the cache."""

    name: str
    kind: str
    present: bool
    architecture: str
    num_parameters: int
    context_length: int
    licence: str
    bytes_on_disk: int
    folder: str
    description: str


def list_models(cache: Path | None = None) -> list[ModelRow]:
    """The embedded models, then whatever else was converted into the cache. Reads manifests only."""
    root = cache_root(cache)
    rows = []
    for entry in EMBEDDED:
        folder = embedded_folder(entry, root)
        present = (folder / MANIFEST).is_file()
        rows.append(
            ModelRow(
                name=entry.name,
                kind="embedded",
                present=present,
                architecture=entry.architecture,
                num_parameters=entry.num_parameters,
                context_length=entry.context_length,
                licence=entry.licence,
                bytes_on_disk=_size(folder) if present else 0,
                folder=str(folder) if present else "",
                description=entry.description,
            )
        )
    known = {row.folder for row in rows}
    folders = sorted(p.parent for p in (root / "models").glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))
    return rows + [_converted_row(f) for f in folders if str(f) not in known]


def _converted_row(folder: Path) -> ModelRow:
    """A converted .gguf file; a manifest that cannot be read is said in the description."""
    try:
        m = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        architecture, licence, source = str(m["architecture"]), str(m["licence"]), str(m["source"])
        numbers = int(m["num_parameters"]), int(m["context_length"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        architecture, licence, numbers = "unknown", "unknown", (0, 0)
        source = f"the manifest cannot be read ({type(err).__name__}): remove the folder"
    return ModelRow(
        name=folder.name,
        kind="converted",
        present=True,
        architecture=architecture,
        num_parameters=numbers[0],
        context_length=numbers[1],
        licence=licence,
        bytes_on_disk=_size(folder),
        folder=str(folder),
        description=source,
    )


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def describe(name: str, cache: Path | None = None) -> dict[str, Any]:
    """Every fact about a model, for people and for `--json`. Fetches nothing: an absent model says `present: False`."""
    root, entry = cache_root(cache), embedded_named(name)
    if entry is not None and not (embedded_folder(entry, root) / MANIFEST).is_file():
        row = next(r for r in list_models(root) if r.name == name)
        return {
            "name": name,
            "present": False,
            "source": f"{entry.requirement} from the package index",
            "architecture": row.architecture,
            "num_parameters": row.num_parameters,
            "context_length": row.context_length,
            "licence": row.licence,
            "languages": list(entry.languages),
            "description": row.description,
        }
    converted = root / "models" / name
    info = resolve(str(converted) if (converted / MANIFEST).is_file() else name, root, allow_network=False)
    facts = _facts(info, root)
    return facts | ({"languages": list(entry.languages), "description": entry.description} if entry else {})


def _facts(info: ModelInfo, root: Path) -> dict[str, Any]:
    config, found = read_config(info.folder), read_folder(info.folder, HashMemory(root))
    template = read_template(info.folder)
    tokenizer = info.folder / "tokenizer.json"
    special = read_json(info.folder / "tokenizer_config.json") if (info.folder / "tokenizer_config.json").is_file() else {}
    return {
        "name": info.name,
        "present": True,
        "source": info.source,
        "folder": str(info.folder),
        "architecture": info.architecture,
        "model_type": str(config.get("model_type", "unknown")),
        "num_parameters": info.num_parameters,
        "num_layers": _first(config, "num_hidden_layers", "n_layer", "num_layers"),
        "hidden_size": _first(config, "hidden_size", "n_embd", "d_model"),
        "num_heads": _first(config, "num_attention_heads", "n_head", "num_heads"),
        "num_key_value_heads": _first(config, "num_key_value_heads", "num_attention_heads", "n_head"),
        "context_length": info.context_length,
        "vocabulary": _first(config, "vocab_size"),
        "dtypes": list(found.dtypes),
        "licence": info.licence,
        "weights_sha256": info.weights_sha256,
        "template_sha256": hashlib.sha256(template.encode()).hexdigest() if template else "",
        "tokenizer_sha256": hashlib.sha256(tokenizer.read_bytes()).hexdigest() if tokenizer.is_file() else "",
        "special_tokens": {k: _text(special[k]) for k in ("bos_token", "eos_token", "pad_token", "unk_token") if special.get(k)},
        "files": {name: (info.folder / name).stat().st_size for name in found.files},
        "notes": list(info.notes),
    }


def _first(config: dict[str, Any], *keys: str) -> int | None:
    return next((int(config[k]) for k in keys if isinstance(config.get(k), int)), None)


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)
