"""The field type of a recipe's method: any part of this folder, told apart by `kind`.

One decision: the union is made of what the folder and the installed entry points hold, so faults name the dotted path and a
new method needs no list; a mapping without `kind` is LoRA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Discriminator, Tag

from luthier.core.discovery import discover
from luthier.parts.methods.method import Method

PACKAGE = "luthier.parts.methods"


def known_methods() -> dict[str, type[Method]]:
    """Every method by kind: built in and installed."""
    return discover(PACKAGE, Method)


def _kind(value: object) -> str:
    """The kind of a method; a mapping without one is LoRA."""
    return str(value.get("kind", "lora") if isinstance(value, dict) else getattr(value, "kind", ""))


def _union() -> Any:
    tagged = tuple(Annotated[cls, Tag(kind)] for kind, cls in known_methods().items())
    return Annotated[Union[tagged], Discriminator(_kind)]  # noqa: UP007 - made from a tuple


if TYPE_CHECKING:
    MethodConfig = Method
else:
    MethodConfig = _union()
