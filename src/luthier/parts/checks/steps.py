"""A check as a step of a cleaning: which one, its options, and what becomes of the rows that fail.

One decision: a step is the check itself with `kind`, `fate` and, for a check of texts, `roles` beside its options, made from the
folder, so a new check of any kind can be named in a project file without a list, and a wrong name is told with the nearest one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal, get_origin

import pydantic
from pydantic import Field

from luthier.core.config import parse_config, parse_yaml
from luthier.core.discovery import part_field
from luthier.core.errors import MachineError, UserError, did_you_mean
from luthier.parts.checks.contract import Check, TextCheck
from luthier.parts.checks.discover import check_classes

Fate = Literal["warn", "set_aside", "drop"]
Speaker = Literal["system", "user", "assistant", "tool", "text"]
_OWN = {"kind", "fate", "roles"}


class Step(Check):
    """What every step has besides its check's options. For types only: a step is made by `load_step`."""

    kind: str
    fate: Fate


@functools.cache
def step_classes() -> dict[str, type[Step]]:
    """The step of every check by its name."""
    return {name: _step_class(name, cls) for name, cls in check_classes().items()}


def _step_class(name: str, cls: type[Check]) -> type[Any]:
    taken = _OWN & set(cls.model_fields)
    if taken:
        raise MachineError(f"the check `{name}` has a field called {', '.join(sorted(taken))}, which every step has: rename it")
    fate = Field(default="set_aside", description="what becomes of a row that fails; `warn` keeps it and reports it")
    roles = Field(default=(), description="the speakers whose texts are judged; all when not given")
    tag: Any = Literal[name]
    fields: dict[str, Any] = {"kind": (tag, name), "fate": (Fate, fate)}
    if issubclass(cls, TextCheck):
        fields["roles"] = (tuple[Speaker, ...], roles)
    made = pydantic.create_model(f"{cls.__name__}Step", __base__=cls, __module__=cls.__module__, **fields)
    made.__doc__ = cls.__doc__
    return made


def load_step(value: Any, where: str = "") -> Step:
    """A step from a check's name or a mapping with `kind`. Raises UserError with the nearest name or option."""
    data = {"kind": value} if isinstance(value, str) else value
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind not in step_classes():
        raise UserError("a known check is wanted", repr(kind or value)[:80], where, did_you_mean(str(kind), step_classes()))
    return parse_config(step_classes()[str(kind)], data, where)


def step_from_text(text: str) -> Step:
    """A step from the command line: `refusals`, `language:languages=en+de,fate=drop`, or YAML in braces. Raises UserError."""
    if text.lstrip().startswith("{"):
        return load_step(parse_yaml(text, "--check"), "--check")
    kind, _, rest = text.partition(":")
    data: dict[str, Any] = {"kind": kind.strip()}
    fields = step_classes()[data["kind"]].model_fields if data["kind"] in step_classes() else {}
    for pair in filter(None, (p.strip() for p in rest.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or not value:
            raise UserError(
                "options must be given as `name=value`", repr(pair), "--check", "for example language:languages=en+de,fate=drop"
            )
        several = name in fields and get_origin(fields[name].annotation) is tuple
        data[name] = value.split("+") if several else parse_yaml(value, "--check")
    return load_step(data, "--check")


if TYPE_CHECKING:
    StepConfig = Step
else:
    StepConfig = part_field(step_classes())
