"""Base: a pretrained model by name, as the first input of everything.

One decision: the key is made of the model's own bytes (a pinned hash for embedded models, the files' hashes
otherwise), so a folder that changes under the same name is another base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from luthier.core.artifacts import BaseModel
from luthier.core.events import Note, Progress
from luthier.core.keys import file_sha256
from luthier.core.stage import Context, Stage

IDENTITY_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")


class Base(Stage[BaseModel]):
    """An embedded name, a folder of safetensors, a .gguf file or a hub id."""

    version: ClassVar[int] = 2

    name: str

    def identity(self) -> dict[str, Any]:
        """The bytes that the model is made of."""
        from luthier.engine.models.embedded import EMBEDDED

        for model in EMBEDDED:
            if model.name == self.name:
                return {"embedded": dict(model.files)}
        path = Path(self.name)
        if path.suffix == ".gguf" and path.is_file():
            return {"gguf": file_sha256(path)}
        if path.is_dir():
            return {"files": {p.name: file_sha256(p) for p in sorted(path.iterdir()) if p.suffix in IDENTITY_SUFFIXES}}
        return {"hub": self.name}

    def gone(self, result: BaseModel) -> str:
        """The model's folder is outside the store: a cache that somebody may have emptied."""
        return "" if (Path(result.folder) / "config.json").is_file() else f"the model's folder {result.folder} is gone"

    def build(self, ctx: Context) -> BaseModel:
        """Find, fetch or convert the model; the artifact says where it is."""
        from luthier.engine.models.kinds import describe_kind
        from luthier.engine.models.resolve import resolve

        def tell(what: str, done: int, total: int) -> None:
            ctx.observer(Progress("base", done, total, what))

        info = resolve(self.name, progress=tell)
        for note in info.notes:
            ctx.observer(Note(note))
        said = describe_kind(info.name, info.kind, info.architecture)
        if said:
            ctx.observer(Note(said))
        return info.artifact()
