"""What a tuning method gives the engines: a spec that installs itself on a transformers model.

One decision: a method's trainable tensors are known by their saved names (PEFT's where PEFT has the method) from the
first moment, so a state, a gradient and an adapter folder all speak of the same tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from luthier.core.errors import UserError

KeyValue = tuple[torch.Tensor, torch.Tensor]


class Root(Protocol):
    """Learned tokens before every sequence, whose own positions then begin at `num_tokens`. One of the two is not None."""

    @property
    def num_tokens(self) -> int: ...

    def embeddings(self) -> torch.Tensor | None:
        """Inputs of the first layer, [num_tokens, hidden], with a graph."""
        ...

    def keys_values(self) -> list[KeyValue] | None:
        """Per layer, keys (as attention reads them, rotated) and values, [kv_heads, num_tokens, head_dim], with a graph."""
        ...


@dataclass(frozen=True, slots=True)
class Installed:
    """parameters: the trainable ones by saved name, at their start; modules: what was adapted, as the saved config names it."""

    parameters: dict[str, torch.nn.Parameter]
    modules: tuple[str, ...] = ()
    root: Root | None = None


class MethodSpec(Protocol):
    """A method with its settings: a frozen dataclass in a file of this folder."""

    kind: ClassVar[str]
    """The name of its part in a project file."""
    starts_as_base: ClassVar[bool]
    """Whether the untrained method changes nothing. A rounded base and learned tokens cannot."""

    def install(self, model: Any, seed: int) -> Installed:
        """Put the method on a frozen transformers model, in place.

        The start depends on the seed and on names and weights alone. Raises UserError for settings that the model cannot take.
        """
        ...

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """Write an adapter folder (fsynced). modules: of `Installed`; base: the name of the model it belongs to."""
        ...

    @property
    def unmergeable(self) -> str:
        """Why it cannot become plain weights of the model's own architecture; empty when it can."""
        ...

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> MethodSpec | None:
        """The spec of a saved adapter; None when it is another method's. Raises EngineRefused for a variant that is not computed here."""
        ...


def fill(parameters: Mapping[str, torch.nn.Parameter], weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Copy saved tensors into parameters. Raises UserError unless names and shapes are exactly the same."""
    wanted = {name: tuple(p.shape) for name, p in parameters.items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    wrong = [f"{n} is missing" for n in sorted(wanted.keys() - found.keys())]
    wrong += [f"{n} is not part of it" for n in sorted(found.keys() - wanted.keys())]
    wrong += [f"{n} has shape {list(found[n])}, wanted {list(s)}" for n, s in wanted.items() if found.get(n, s) != s]
    if wrong:
        more = f" (and {len(wrong) - 2} more)" if len(wrong) > 2 else ""
        raise UserError("the adapter must be of this model and method", "; ".join(wrong[:2]) + more, where)
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(weights[name])
