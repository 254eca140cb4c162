"""Base models by name: a folder, a hub id, a .gguf file or an embedded name becomes a checked local folder.

One decision: everything ends as a folder of safetensors that was checked before anything loads it; what had to be
converted or rebuilt is said in `notes`, never done in silence. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.core.artifacts import BaseModel
from luthier.core.errors import UserError, did_you_mean
from luthier.engine.models import hub
from luthier.engine.models.cache import HashMemory, cache_root
from luthier.engine.models.converted import Cached, embedded_model, gguf_model
from luthier.engine.models.embedded import EMBEDDED, embedded_named
from luthier.engine.models.folders import FolderFacts, read_folder
from luthier.engine.models.gguf_weights import Progress
from luthier.engine.models.kinds import ModelKind, folder_kind


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A base model that is ready in a local folder. `notes` are sentences for the person who asked."""

    name: str
    folder: Path
    weights_sha256: str
    architecture: str
    num_parameters: int
    context_length: int
    licence: str
    source: str
    notes: tuple[str, ...] = ()
    kind: ModelKind = "decoder"

    def artifact(self) -> BaseModel:
        """The typed result of the base stage."""
        return BaseModel(
            name=self.name,
            folder=str(self.folder),
            weights_sha256=self.weights_sha256,
            architecture=self.architecture,
            num_parameters=self.num_parameters,
            context_length=self.context_length,
            licence=self.licence,
            source=self.source,
            kind=self.kind,
        )


def quiet(what: str, done: int, total: int) -> None:
    """No progress display."""


def resolve(name: str, cache: Path | None = None, *, allow_network: bool = True, progress: Progress = quiet) -> ModelInfo:
    """Find, fetch or convert the model called `name` and check its folder.

    `name` is an embedded name, a folder of safetensors, a .gguf file, or `owner/model[@revision]` of the hub.
    Raises UserError (unknown, unsafe or broken model), MachineError (disk, permission, network), CorruptArtifact
    (a cached copy that is damaged and cannot be rebuilt).
    """
    return _resolve(name, cache_root(cache), _How(allow_network, verify=False, progress=progress))


def pull(name: str, cache: Path | None = None, *, progress: Progress = quiet) -> ModelInfo:
    """`resolve` with the network, and every byte of a cached copy checked against its manifest."""
    return _resolve(name, cache_root(cache), _How(allow_network=True, verify=True, progress=progress))


@dataclass(frozen=True, slots=True)
class _How:
    allow_network: bool
    verify: bool
    progress: Progress


def _resolve(name: str, root: Path, how: _How) -> ModelInfo:
    check_name(name)
    entry, path = embedded_named(name), Path(name).expanduser()
    if entry is not None:
        return _from_cached(name, embedded_model(entry, root, allow_network=how.allow_network, verify=how.verify, progress=how.progress))
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        return _from_cached(path.name, gguf_model(path, root, verify=how.verify, progress=how.progress))
    if path.is_dir():
        return _from_folder(path.resolve().name, path.resolve(), f"folder {path}", root)
    folder = hub.hub_folder(name, allow_network=how.allow_network, progress=how.progress)
    return _from_folder(name, folder, f"hub {name} ({folder.name[:12]})", root)


def check_name(name: str) -> None:
    """Raise the UserError of a name that no model can have. Loads nothing, fetches nothing."""
    path = Path(name).expanduser()
    if embedded_named(name) is not None or path.is_dir() or path.suffix.lower() == ".gguf":
        return
    if path.is_file():
        raise UserError("a model must be a folder of safetensors, a .gguf file, a hub id or an embedded name", f"the file {path}")
    if name.startswith((".", "/", "~")):
        raise UserError("the model's folder must exist", name)
    if not hub.is_hub_id(name):
        must = "the base model must be an embedded name, a folder, a .gguf file or a hub id `owner/model`"
        raise UserError(must, repr(name), fix=did_you_mean(name, [e.name for e in EMBEDDED]))


def _from_folder(name: str, folder: Path, source: str, root: Path) -> ModelInfo:
    memory = HashMemory(root)
    facts = read_folder(folder, memory)
    return _info(name, folder, source, facts, (memory.note,) if memory.note else ())


def _info(name: str, folder: Path, source: str, facts: FolderFacts, notes: tuple[str, ...]) -> ModelInfo:
    return ModelInfo(
        name=name,
        folder=folder,
        weights_sha256=facts.weights_sha256,
        architecture=facts.architecture,
        num_parameters=facts.num_parameters,
        context_length=facts.context_length,
        licence=facts.licence,
        source=source,
        notes=notes,
        kind=facts.kind,
    )


def _from_cached(name: str, found: Cached) -> ModelInfo:
    m = found.manifest
    return ModelInfo(
        name=name,
        folder=found.folder,
        weights_sha256=str(m["weights_sha256"]),
        architecture=str(m["architecture"]),
        num_parameters=int(m["num_parameters"]),
        context_length=int(m["context_length"]),
        licence=str(m["licence"]),
        source=str(m["source"]),
        notes=found.notes,
        kind=folder_kind(found.folder),
    )
