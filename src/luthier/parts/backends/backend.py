"""What a backend is: a frozen config that answers many prompts, each with a text that its caller can read, or with a reason.

One decision: the caller says how an answer is read (`read` gives None for nonsense) and which answers there are (`choices`), so a
local model chooses among them by log-probability, and an endpoint is asked again when it answers nonsense.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, WithJsonSchema

from luthier.core.config import Config
from luthier.core.discovery import load_part
from luthier.core.records import Message

PACKAGE = "luthier.parts.backends"
Prompt = tuple[Message, ...]
Read = Callable[[str], object | None]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: its text, or None and the reason why there is none."""

    text: str | None
    reason: str = ""


class Backend(Config):
    """Base of every backend. A subclass gives `kind: Literal[...]` with its name as default, and `ask`."""

    kind: str

    def ask(self, prompts: Sequence[Prompt], choices: tuple[str, ...], read: Read) -> list[Reply]:
        """One reply for each prompt. Raises UserError or MachineError only where no prompt could ever be answered."""
        raise NotImplementedError(f"{type(self).__name__} must define ask")

    def check(self) -> None:
        """Look whether it could be asked at all (a key is there), without asking. Raises UserError."""


def load(value: Any) -> Backend:
    """A backend from a mapping with `kind`, or itself. Raises UserError for an unknown one or options that do not fit."""
    return load_part(PACKAGE, Backend, value, "backend")


BackendConfig = Annotated[
    SerializeAsAny[Backend],
    BeforeValidator(load),
    WithJsonSchema({"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}),
]
