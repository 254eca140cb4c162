"""What is exported: the tuned model of a run, an adapter folder, or a base model, as folders whose hashes are known.

One decision: a run's base must still have the hash that it was trained on, and an adapter that carries the hash of its
base (every Luthier export does) is refused on another one; a name alone proves nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.keys import file_sha256
from luthier.core.records import Message
from luthier.engine.models.kinds import WORDS

if TYPE_CHECKING:
    from luthier.engine.models.resolve import ModelInfo
    from luthier.engine.text.renderer import Renderer

RECORD = "export.json"


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A model to export. key: the training artifact of a run, otherwise empty; prompts: validation prompts of a run."""

    name: str
    base: ModelInfo
    adapter: Path | None
    renderer: Renderer
    key: str
    prompts: tuple[tuple[Message, ...], ...]

    def identity(self) -> dict[str, Any]:
        """What export.json says of the source."""
        weights = file_sha256(self.adapter / "adapter_model.safetensors") if self.adapter else None
        return {
            "model": self.name,
            "key": self.key,
            "base": self.base.name,
            "base_sha256": self.base.weights_sha256,
            "adapter_sha256": weights,
            "renderer_hash": self.renderer.hash,
            "licence": self.base.licence,
        }


def find_source(model: str, file: Path) -> ExportSource:
    """The model called `model`: an adapter folder, else a run of the project `file`, else a base model. Raises UserError."""
    from luthier.engine.methods.folder import CONFIG
    from luthier.engine.models.resolve import resolve
    from luthier.engine.text.renderer import Renderer

    if (Path(model) / CONFIG).is_file():
        return _adapter(Path(model))
    if file.is_file() and not Path(model).exists():
        run = _run(model, file)
        if run is not None:
            return run
    try:
        base = resolve(model)
    except UserError as err:
        if model.isdigit() or not file.is_file():
            raise UserError("a run, an adapter folder or a base model must be named", repr(model), fix=_runs(file)) from None
        raise err from None
    _decoder(base, str(base.folder))
    return ExportSource(base.name, base, None, Renderer.from_model(base.folder), "", ())


def _runs(file: Path) -> str:
    if not file.is_file():
        return f"there is no project file {file} here, so no run is known by name"
    from luthier.pipeline.workspace import Workspace

    names = [f"{r['number']} ({r['name']})" for r in Workspace.open(file).database.list_runs()]
    return f"runs of this project: {', '.join(names) or 'none yet'}"


def _run(name: str, file: Path) -> ExportSource | None:
    from luthier.core.artifacts import Checkpoint
    from luthier.core.record import verify
    from luthier.engine.models.resolve import resolve
    from luthier.engine.text.renderer import Renderer
    from luthier.pipeline.workspace import Workspace

    workspace = Workspace.open(file)
    found = workspace.trained_run(name, "export")
    if found is None:
        return None
    run, links = found
    folder = workspace.store.artifacts / f"train-{links['train'][:12]}"
    checkpoint = Checkpoint.model_validate(verify(folder)["result"])
    if not Path(checkpoint.base_folder).is_dir():
        raise UserError("the base that the run was trained on must be there", checkpoint.base_folder, f"run {run['number']}")
    base = _decoder(replace(resolve(checkpoint.base_folder), name=checkpoint.base), str(folder / "adapter"))
    _same_base(base, checkpoint.base_sha256, f"run {run['number']}")
    renderer = Renderer.load(folder / "renderer")
    if renderer.hash != checkpoint.renderer_hash:
        raise CorruptArtifact(f"{folder}: its renderer is not the one that it was trained with; train again")
    prompts = _validation(workspace.store.artifacts / f"split-{links['split'][:12]}") if "split" in links else ()
    return ExportSource(f"{run['number']:04d}-{run['name']}", base, folder / "adapter", renderer, links["train"], prompts)


def _decoder(base: ModelInfo, folder: str) -> ModelInfo:
    """The base, when it is one that export can check: its answers are compared token by token."""
    if base.kind != "decoder":
        fix = f"{folder} loads in transformers and PEFT as it is"
        raise UserError("only decoders are exported and read back", WORDS[base.kind], base.name, fix)
    return base


def _validation(folder: Path) -> tuple[tuple[Message, ...], ...]:
    """The prompts of the validation rows, in order; test rows are sealed and never read here."""
    from luthier.core.artifacts import Dataset
    from luthier.core.record import verify
    from luthier.core.records import read_records

    dataset = Dataset.model_validate(verify(folder)["result"])
    name = dataset.files.get("validation")
    return tuple(row.prompt for row in read_records(folder / name) if row.prompt and not row.tools) if name else ()  # type: ignore[union-attr]


def _adapter(folder: Path) -> ExportSource:
    """A PEFT folder; its base is found by the name that it carries, and by its hash where export.json beside it has one."""
    from luthier.engine.export.loading import adapter_config
    from luthier.engine.models.resolve import resolve
    from luthier.engine.text.renderer import Renderer

    base = _decoder(resolve(str(adapter_config(folder).get("base_model_name_or_path"))), str(folder))
    if (folder / RECORD).is_file():
        try:
            recorded = json.loads((folder / RECORD).read_text(encoding="utf-8"))["source"]["base_sha256"]
        except (ValueError, KeyError, TypeError):
            raise CorruptArtifact(f"{folder / RECORD} cannot be read: export the adapter again") from None
        _same_base(base, str(recorded), str(folder))
    return ExportSource(folder.resolve().name, base, folder, Renderer.from_model(base.folder), "", ())


def _same_base(base: ModelInfo, sha256: str, where: str) -> None:
    if base.weights_sha256 != sha256:
        got = f"{base.name} with sha256 {base.weights_sha256[:12]}, wanted {sha256[:12]}"
        raise UserError("the base must be the one that the adapter was trained on", got, where, "put that base back, or train again")
