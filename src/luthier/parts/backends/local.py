"""The local engine as a backend: a base model of this machine chooses among the answers by their log-probability.

One decision: it does not write; the most likely of the choices is the answer, so nonsense cannot happen and nothing is asked twice.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.parts.backends.backend import Backend, Prompt, Read, Reply

if TYPE_CHECKING:
    from luthier.engine.predictor import Answerer


class Local(Backend):
    """`model`: a base model by its name or folder; it must be one that writes text."""

    kind: Literal["local"] = "local"
    model: str = Field(min_length=1, description="a base model by its name or folder")

    def ask(self, prompts: Sequence[Prompt], choices: tuple[str, ...], read: Read) -> list[Reply]:
        return [Reply(o.text) for o in _predictor(self.model, choices).predict(list(prompts))]


@functools.lru_cache(maxsize=1)
def _predictor(name: str, choices: tuple[str, ...]) -> Answerer:
    from luthier.core.execution import Execution
    from luthier.engine.decoding import Decoding
    from luthier.engine.loading import load_for, predictor_for, renderer_for
    from luthier.engine.models.resolve import resolve

    info = resolve(name)
    if info.kind == "encoder":
        raise UserError("a judge needs a model that writes text", f"{name}, an encoder", "backend.model")
    renderer = renderer_for(info.artifact())
    engine = load_for(renderer, info.folder, None, Execution(), seed=0)
    return predictor_for(engine, renderer, Decoding(kind="labels"), choices)
