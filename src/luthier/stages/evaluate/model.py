"""From an artifact to something that answers: loads a base or a checkpoint as engine and renderer.

One decision: a checkpoint carries the renderer it was trained with, and evaluation loads that very object
and refuses another hash; only an untuned base gets its renderer from the base itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.core.artifacts import BaseModel, Checkpoint, ClassicalModel
from luthier.core.errors import CorruptArtifact, MachineError
from luthier.core.execution import Execution
from luthier.core.stage import Built
from luthier.engine.contract import Engine
from luthier.engine.decoding import Decoding
from luthier.engine.predictor import Answerer
from luthier.engine.text.load import AnyRenderer, load_renderer


def load_predictor(model: Built[Any], execution: Execution, decoding: Decoding, choices: tuple[str, ...]) -> Answerer:
    """A predictor over a finished BaseModel, Checkpoint or ClassicalModel artifact."""
    result = model.result
    if isinstance(result, ClassicalModel):
        from luthier.stages.evaluate.classical_predictor import load_classical

        return load_classical(model, execution)
    from luthier.engine.loading import predictor_for

    engine, renderer = load_model(model, execution)
    return predictor_for(engine, renderer, decoding, choices)


def load_model(model: Built[Any], execution: Execution) -> tuple[Engine, AnyRenderer]:
    """Engine and renderer of a finished BaseModel or Checkpoint artifact. Raises MachineError or CorruptArtifact."""
    from luthier.engine.loading import load_for, renderer_for

    result = model.result
    folder = Path(result.base_folder if isinstance(result, Checkpoint) else result.folder)
    if not folder.is_dir():
        raise MachineError(f"the base model's folder {folder} is gone: put it back there; `luthier models pull` fills the cache")
    if isinstance(result, Checkpoint):
        renderer = load_renderer(model.path / "renderer")
        if renderer.hash != result.renderer_hash:
            raise CorruptArtifact(
                f"{model.path}: the renderer's hash is {renderer.hash[:12]}, the checkpoint was trained with {result.renderer_hash[:12]}"
            )
        return load_for(renderer, Path(result.base_folder), model.path / "adapter", execution, seed=0), renderer
    if not isinstance(result, BaseModel):
        raise TypeError(f"a base model or a checkpoint is wanted, got {type(result).__name__}")
    renderer = renderer_for(result)
    return load_for(renderer, Path(result.folder), None, execution, seed=0), renderer


def model_name(model: Built[Any]) -> str:
    """How people call it: the base's name, or `base + adapter key`."""
    if isinstance(model.result, Checkpoint):
        return f"{model.result.base} tuned ({model.key[:12]})"
    if isinstance(model.result, ClassicalModel):
        return f"{model.result.kind}{f' of {model.result.base}' if model.result.base else ''}"
    return model.result.name
