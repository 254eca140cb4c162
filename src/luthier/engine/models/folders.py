"""A model folder read without loading it: its config, its weights files, its sizes, and whether it is safe.

One decision: a folder with `auto_map` (code from the hub) or with pickles instead of safetensors is refused here,
before any library sees it.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError, did_you_mean, from_os_error
from luthier.engine.models.cache import HashMemory, sha256_file
from luthier.engine.models.kinds import ModelKind, kind_of, positions_taken
from luthier.engine.models.safety import PICKLE_SUFFIXES, non_finite, read_header
from luthier.engine.text.files import read_object

INDEX = "model.safetensors.index.json"
_MAX_JSON_BYTES = 64 << 20
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length", "max_seq_len")


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """What a model folder says of itself. `context_length` 0 means that its config does not state one."""

    architecture: str
    num_parameters: int
    context_length: int
    licence: str
    dtypes: tuple[str, ...]
    weights_sha256: str
    files: tuple[str, ...]
    weights_bytes: int
    kind: ModelKind = "decoder"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder. Raises UserError when it is missing, huge, or not one."""
    try:
        size = path.stat().st_size
    except OSError as err:
        raise from_os_error(err, "reading the model's") from None
    if size > _MAX_JSON_BYTES:
        raise UserError(f"a model's JSON file must be at most {_MAX_JSON_BYTES} bytes", size, str(path))
    return read_object(path)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder. Raises UserError when it is missing or asks for code of its own."""
    if not (folder / "config.json").is_file():
        raise UserError("a model folder must hold config.json", "none", str(folder))
    config = read_json(folder / "config.json")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        data = config if name == "config.json" else read_json(folder / name) if (folder / name).is_file() else {}
        if data.get("auto_map") or data.get("custom_generate"):
            fix = "use a model whose architecture is part of transformers"
            raise UserError("a model must not bring code of its own (`auto_map`)", "auto_map", str(folder / name), fix)
    return config


def weights_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model, in order. Raises UserError on pickles or a bad shard index."""
    if (folder / INDEX).is_file():
        return _shards(folder)
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    try:
        names = sorted(p.name for p in folder.iterdir())
    except OSError as err:
        raise from_os_error(err, "reading the model folder") from None
    pickles = [n for n in names if n.lower().endswith(PICKLE_SUFFIXES)]
    if pickles:
        fix = "save the model again with `save_pretrained` (it writes safetensors), or take a revision that has them"
        raise UserError("weights must be safetensors: a pickle can run any program when it is loaded", pickles[0], str(folder), fix)
    others = [n for n in names if n.endswith(".safetensors")]
    fix = did_you_mean("model.safetensors", others) if others else ""
    raise UserError("a model folder must hold model.safetensors or its shard index", ", ".join(names[:5]) or "nothing", str(folder), fix)


def _shards(folder: Path) -> list[Path]:
    """The shards that the index names, each a plain file name inside the folder."""
    where = str(folder / INDEX)
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError("a shard index must map tensor names to files (`weight_map`)", type(weight_map).__name__, where)
    names = sorted({str(n) for n in weight_map.values()})
    for name in names:
        if name != Path(name).name or "\\" in name or name in ("", ".", "..") or not name.endswith(".safetensors"):
            raise UserError("a shard must be a safetensors file inside the model's folder", repr(name), where)
        if not (folder / name).is_file():
            raise UserError("every shard that the index names must exist", repr(name), where)
    stored = {span.name: name for name in names for span in read_header(folder / name)}
    wrong = [t for t, name in weight_map.items() if stored.get(t) != name]
    if wrong:
        raise UserError("every tensor of the index must be in the shard it names", repr(wrong[0]), where)
    return [folder / name for name in names]


def read_folder(folder: Path, memory: HashMemory) -> FolderFacts:
    """Check a model folder and say what it is. Weights are hashed and checked for NaN once, then remembered."""
    config = read_config(folder)
    paths = weights_files(folder)
    try:
        judged = [memory.recall(p, _judge) for p in paths]
    except OSError as err:
        raise from_os_error(err, "reading the model's weights") from None
    for path, facts in zip(paths, judged, strict=True):
        if facts["faults"]:
            raise UserError(f"weights must be finite numbers: {facts['faults'][0]}", where=str(path))
    hashes = [f["sha256"] for f in judged]
    joined = "\n".join(f"{p.name} {h}" for p, h in zip(paths, hashes, strict=True))
    return FolderFacts(
        architecture=str((config.get("architectures") or [config.get("model_type", "unknown")])[0]),
        num_parameters=sum(f["num_parameters"] for f in judged),
        context_length=max(0, next((int(config[k]) for k in _CONTEXT_KEYS if isinstance(config.get(k), int)), 0) - positions_taken(config)),
        licence=read_licence(folder),
        dtypes=tuple(sorted({d for f in judged for d in f["dtypes"]})),
        weights_sha256=hashes[0] if len(hashes) == 1 else hashlib.sha256(joined.encode()).hexdigest(),
        files=tuple(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())),
        weights_bytes=sum(p.stat().st_size for p in paths),
        kind=kind_of(config),
    )


def _judge(path: Path) -> dict[str, Any]:
    """Header, hash and finiteness of one weights file. Raises UserError on a bad header."""
    spans = read_header(path)
    numbers = [s for s in spans if s.dtype.startswith(("F", "BF"))]
    return {
        "sha256": sha256_file(path),
        "num_parameters": sum(math.prod(s.shape) for s in numbers),
        "dtypes": sorted({s.dtype for s in numbers}),
        "faults": [f"{f.reason} ({f.where.rsplit(', ', 1)[-1]})" for f in non_finite(path, spans)],
    }


def read_licence(folder: Path) -> str:
    """`license:` of the model card's front matter, or `unknown`."""
    card = folder / "README.md"
    if not card.is_file():
        return "unknown"
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace")[:20_000], re.DOTALL)
    found = re.search(r"^license:[ \t]*['\"]?([^\s'\"#]+)", front.group(1), re.MULTILINE) if front else None
    return found.group(1) if found else "unknown"
