"""Which layers of a model a method adapts: names and patterns from a project file, matched against the model's own modules.

One decision: every entry must match something, so a misspelt target is an error and never a method that adapts less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from luthier.core.errors import UserError, did_you_mean

ALL_LINEAR = ("all-linear",)
WHERE = "train.method.targets"


@dataclass(frozen=True, slots=True)
class Layers:
    """Adaptable modules by full name, in the model's order: (out, in) of each. linear: of the layers; others: head and embedding."""

    linear: Mapping[str, tuple[int, int]]
    others: Mapping[str, tuple[int, int]]


def layers_of(model: Any) -> Layers:
    """The linear layers of a transformers model, its head and its token embedding."""
    found = {name: module for name, module in model.named_modules() if is_linear(module)}
    inside = [name for name in found if name.startswith(model.base_model_prefix + ".")]
    body = inside or [name for name, module in found.items() if module is not model.get_output_embeddings()]
    others = {name: shape_of(module) for name, module in found.items() if name not in body}
    embedding = model.get_input_embeddings()
    others |= {name: shape_of(module) for name, module in model.named_modules() if module is embedding}
    return Layers({name: shape_of(found[name]) for name in body}, others)


def is_linear(module: Any) -> bool:
    """nn.Linear, or the transposed layer that GPT-2 has in its place."""
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def shape_of(module: Any) -> tuple[int, int]:
    """(out, in) of a linear layer; (hidden, vocabulary) of an embedding."""
    rows, columns = module.weight.shape
    return (rows, columns) if isinstance(module, torch.nn.Linear) else (columns, rows)


def select(targets: tuple[str, ...], layers: Layers, where: str = WHERE) -> tuple[str, ...]:
    """Full names of the modules that `targets` name, in the model's order.

    An entry is `all-linear` (every linear layer but the head), the last part or parts of a name (`q_proj`,
    `self_attn.q_proj`, `embed_tokens`, `lm_head`), or a pattern of the whole name with * ? [ ]. Raises UserError for an
    entry that matches nothing.
    """
    names = [*layers.linear, *layers.others]
    chosen: set[str] = set()
    for entry in targets:
        found = list(layers.linear) if entry == "all-linear" else [n for n in names if matches(entry, n)]
        if not found:
            known = dict.fromkeys(n.rsplit(".", 1)[-1] for n in names)
            fix = "" if is_pattern(entry) else did_you_mean(entry, known)
            raise UserError("a target must name a layer of the model", entry, where, fix or f"names look like {names[0]}")
        chosen.update(found)
    return tuple(n for n in names if n in chosen)


def is_pattern(entry: str) -> bool:
    return any(c in entry for c in "*?[")


def matches(entry: str, name: str) -> bool:
    """Whether a name or pattern of `select` means the module called `name`."""
    return fnmatchcase(name, entry) if is_pattern(entry) else name == entry or name.endswith("." + entry)


def saved_modules(chosen: Iterable[str], layers: Layers) -> tuple[str, ...]:
    """The selection as PEFT's `target_modules`: last names where they mean exactly this selection, full names otherwise."""
    chosen = tuple(chosen)
    short = tuple(dict.fromkeys(n.rsplit(".", 1)[-1] for n in chosen))
    meant = [n for n in (*layers.linear, *layers.others) if n.rsplit(".", 1)[-1] in short]
    return short if set(meant) == set(chosen) else chosen


def top_layers(model: Any) -> tuple[str, torch.nn.ModuleList]:
    """The stack of layers that ends at the output, and its full name. Raises UserError for a model without one."""
    found = find_stack(model)
    if found is None:
        raise UserError("the model must have a stack of layers", type(model).__name__, "train.method.kind")
    return found


def find_stack(model: Any) -> tuple[str, torch.nn.ModuleList] | None:
    """`top_layers`: of an encoder-decoder the decoder's; None for a model without one."""
    stacks = [(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and m]
    if getattr(model.config, "is_encoder_decoder", False):
        inside = list(model.get_decoder().modules())
        return next(((name, m) for name, m in stacks if any(m is other for other in inside)), None)
    size = int(getattr(model.config, "num_hidden_layers", 0))
    return next(((name, m) for name, m in stacks if len(m) == size), None)
