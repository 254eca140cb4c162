"""Talking to a model: a run's tuned model, an adapter folder, or a base model by name.

One decision: a run's model is asked through the renderer it was trained with, its own system message
included, so that what a person tries here is what was evaluated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.core.records import Message
from luthier.engine.decoding import Decoding
from luthier.engine.predictor import Answerer, Output, Predictor


@dataclass
class Conversation:
    """A predictor and the turns so far."""

    name: str
    predictor: Answerer
    system: str | None
    turns: list[Message] = field(default_factory=list)

    def ask(self, text: str) -> Output:
        """Add a user turn, answer it, and remember both. Raises UserError when the context is full."""
        head = [Message("system", self.system)] if self.system else []
        output = self.predictor.predict([(*head, *self.turns, Message("user", text))])[0]
        self.turns += [Message("user", text), Message("assistant", output.text)]
        return output

    def reset(self) -> None:
        """Forget every turn."""
        self.turns.clear()


def open_model(name: str, file: Path, system: str | None, decoding: Decoding) -> Conversation:
    """Load the model called `name`. Raises UserError when it is neither a run, an adapter folder nor a base model."""
    if (Path(name) / "adapter_config.json").is_file():
        return _adapter(Path(name), system, decoding)
    if file.is_file() and not Path(name).exists():
        run = _run(name, file, system, decoding)
        if run is not None:
            return run
        if name.isdigit():
            raise UserError("a run of this project, an adapter folder or a base model must be named", repr(name), "chat", _runs(file))
    return _base(name, system, decoding)


def _run(name: str, file: Path, system: str | None, decoding: Decoding) -> Conversation | None:
    from luthier.core.rows import read_split
    from luthier.engine.text.load import load_renderer
    from luthier.engine.text.plain import FILE
    from luthier.pipeline.workspace import Workspace
    from luthier.stages.evaluate.model import load_predictor

    workspace = Workspace.open(file)
    found = workspace.trained_run(name, "chat")
    if found is None:
        return None
    run, links = found
    train = _built(workspace, "train", links["train"])
    if system is None:
        first = read_split(_built(workspace, "split", links["split"]), "train")[0]
        system = next((m.content for m in first.prompt if m.role == "system"), None)
    if (train.path / "renderer" / FILE).is_file() and load_renderer(train.path / "renderer").stop_ids == ():
        fix = "`luthier eval` asks it for labels"
        raise UserError("a model that writes text is wanted", "an encoder, which reads texts and writes none", f"run {run['number']}", fix)
    return Conversation(f"run {run['number']} ({run['name']})", load_predictor(train, workspace.project.execution, decoding, ()), system)


def _runs(file: Path) -> str:
    """The runs that there are, in words."""
    from luthier.pipeline.workspace import Workspace

    known = Workspace.open(file).database.list_runs()
    return "its runs: " + (", ".join(f"{r['number']} ({r['name']})" for r in known) or "none yet")


def _built(workspace, stage: str, key: str):  # type: ignore[no-untyped-def]
    from luthier.core.artifacts import Checkpoint, Dataset
    from luthier.core.record import verify
    from luthier.core.stage import Built

    kinds = {"train": Checkpoint, "split": Dataset}
    folder = workspace.store.artifacts / f"{stage}-{key[:12]}"
    record = verify(folder)
    result = kinds[stage].model_validate(record["result"])
    return Built(stage=stage, key=key, path=folder, result=result, seconds=record["seconds"], cached=True)


def _adapter(folder: Path, system: str | None, decoding: Decoding) -> Conversation:
    """A PEFT folder; its base is found by the name that it carries."""
    from luthier.engine.models.resolve import resolve
    from luthier.engine.select import load_engine
    from luthier.engine.text.renderer import Renderer

    base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    info = resolve(base)
    engine = load_engine(info.folder, None, Execution(), seed=0, adapter=folder)
    return Conversation(str(folder), Predictor(engine, Renderer.from_model(info.folder), decoding), system)


def _base(name: str, system: str | None, decoding: Decoding) -> Conversation:
    from luthier.engine.loading import load_for, predictor_for, renderer_for
    from luthier.engine.models.resolve import resolve

    info = resolve(name)
    renderer = renderer_for(info.artifact())
    engine = load_for(renderer, info.folder, None, Execution(), seed=0)
    return Conversation(info.name, predictor_for(engine, renderer, decoding, ()), system)
