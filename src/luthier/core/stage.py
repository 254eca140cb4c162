"""A stage: a frozen config whose inputs are other stages, so that the config is the graph.

One decision: a stage names an input by artifact type (`Stage[Dataset]`), never by another stage's class,
so any stage that yields the type fits, and stages never import each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pydantic

from luthier.core.config import Config
from luthier.core.events import Observer
from luthier.core.execution import Execution
from luthier.core.keys import class_name, digest, fields_of


class Artifact(pydantic.BaseModel):
    """Base of every typed result (`core.artifacts`): what a finished stage says about itself in record.json."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


T = TypeVar("T", bound=Artifact)


class Built(pydantic.BaseModel, Generic[T]):
    """A finished artifact: where it is, its key, and its typed result."""

    model_config = pydantic.ConfigDict(frozen=True)

    stage: str
    key: str
    path: Path
    result: T
    seconds: float = 0.0
    cached: bool = False


class Context(Protocol):
    """What a stage may use while it builds. Everything it writes goes below `dir`.

    Files below `dir / "scratch"` survive a kill (a stage resumes from them) and are removed when it is done.
    """

    dir: Path
    execution: Execution
    observer: Observer

    def get(self, stage: Stage[T]) -> Built[T]:
        """The finished artifact of an input stage; built first when it is not there yet."""
        ...

    def stop_requested(self) -> bool:
        """True after Ctrl-C: save what is needed to go on, then call `stop`."""
        ...

    def stop(self, done: str) -> None:
        """Raise Interrupted with how to go on."""
        ...


class Stage(Config, Generic[T]):
    """One step of the flow. A subclass gives fields (its identity), `version`, and `build`."""

    version: ClassVar[int] = 1

    def build(self, ctx: Context) -> T:
        """Do the work into `ctx.dir` and return the typed result. Must resume from `ctx.dir / "scratch"`."""
        raise NotImplementedError

    @classmethod
    def stage_name(cls) -> str:
        """The folder prefix and the name that people see: the class name in lower case."""
        return cls.__name__.lower()

    def key(self) -> str:
        """sha256 of class, version, identity fields, source bytes and inputs' keys (hex, 64 digits)."""
        return digest({"class": class_name(type(self)), "version": self.version, "fields": self.identity()})

    def identity(self) -> dict[str, Any]:
        """What the key is made of: every field. A stage over outside bytes gives their hash instead."""
        return fields_of(self)

    def gone(self, result: T) -> str:
        """What a finished artifact needs outside the store and no longer has; empty when nothing. It is then built again, aloud."""
        return ""

    def inputs(self) -> dict[str, Stage[Any]]:
        """Input stages by field path, found inside tuples, mappings and sub-configs too."""
        return dict(_stages_in(fields_of(self), ""))


def _stages_in(value: Any, path: str) -> Iterator[tuple[str, Stage[Any]]]:
    if isinstance(value, Stage):
        yield path, value
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from _stages_in(v, f"{path}.{k}" if path else str(k))
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            yield from _stages_in(v, f"{path}.{i}")
    elif isinstance(value, pydantic.BaseModel):
        yield from _stages_in(fields_of(value), path)


def topological(*roots: Stage[Any]) -> list[Stage[Any]]:
    """Every stage below `roots`, inputs first, each once."""
    order: dict[str, Stage[Any]] = {}

    def visit(stage: Stage[Any]) -> None:
        if stage.key() in order:
            return
        for below in stage.inputs().values():
            visit(below)
        order[stage.key()] = stage

    for root in roots:
        visit(root)
    return list(order.values())
