"""Finding parts by their folder: every frozen config with a `kind` in a package's modules is a part of that package.

One decision: there is no list to edit and no decorator. Third parties add theirs by the entry-point group
`luthier.parts`, named `<folder>.<kind>` (`scorers.my_metric`), and two parts of one kind are an error.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import BeforeValidator, Field

from luthier.core.config import Config, parse_config
from luthier.core.errors import MachineError, UserError, did_you_mean

GROUP = "luthier.parts"
P = TypeVar("P", bound=Config)


def discover(package: str, base: type[P]) -> dict[str, type[P]]:
    """Every part of `package` (`luthier.parts.scorers`) that is a `base`, by kind, in alphabetical order."""
    return dict(_discover(package, base))


@functools.cache
def _discover(package: str, base: type[P]) -> tuple[tuple[str, type[P]], ...]:
    found: dict[str, type[P]] = {}
    for cls in (*_in_folder(package, base), *_in_entry_points(package.rpartition(".")[2], base)):
        kind = kind_of(cls)
        if kind is not None and found.setdefault(kind, cls) is not cls:
            raise MachineError(f"two parts are called `{kind}`: {found[kind].__module__} and {cls.__module__}; uninstall or rename one")
    return tuple(sorted(found.items()))


def kind_of(cls: type[Config]) -> str | None:
    """The part's name in a project file: the default of its field `kind`; None for a base class."""
    field = cls.model_fields.get("kind")
    return field.default if field is not None and isinstance(field.default, str) else None


def _in_folder(package: str, base: type[P]) -> Iterator[type[P]]:
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__ and issubclass(cls, base):
                yield cls


def _in_entry_points(folder: str, base: type[P]) -> Iterator[type[P]]:
    for point in metadata.entry_points(group=GROUP):
        if point.name.partition(".")[0] == folder:
            try:
                cls = point.load()
            except (ImportError, AttributeError) as err:
                raise MachineError(f"the installed part `{point.name}` ({point.value}) cannot be loaded: {err}") from None
            if not (inspect.isclass(cls) and issubclass(cls, base)):
                raise MachineError(f"the installed part `{point.name}` ({point.value}) must be a {base.__name__}")
            yield cls


def load_part(package: str, base: type[P], value: Any, what: str = "") -> P:
    """A part from its kind (`accuracy`), a mapping (`{kind: ..., field: value}`) or the part itself.

    `what` is the part's name in messages. Raises UserError for an unknown kind, with the nearest one, or fields that do not fit.
    """
    if isinstance(value, base):
        return value
    what = what or base.__name__.lower()
    fields = _named(value)
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise UserError(f"a {what} must be a name or a mapping with `kind`", repr(value)[:200])
    known = discover(package, base)
    if fields["kind"] not in known:
        raise UserError(f"unknown {what} `{fields['kind']}`", fix=did_you_mean(fields["kind"], known))
    return parse_config(known[fields["kind"]], fields)


def part_field(known: Mapping[str, type[Config]]) -> Any:
    """The type of a config field that holds one of these parts, given by name or as a mapping with `kind` and options.

    Faults name the dotted path and the nearest name, and the JSON schema lists every part with its options.
    """
    union = Annotated[Union[tuple(known.values())], Field(discriminator="kind")]  # noqa: UP007 - made from a tuple
    names: Any = Literal[tuple(known)]
    written = Union[names, union]  # noqa: UP007 - made at run time
    return Annotated[union, BeforeValidator(_named, json_schema_input_type=written)]


def _named(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value
