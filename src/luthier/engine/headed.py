"""A tuning method on an encoder with its head, or on an encoder-decoder: which parameters move, by which saved names.

One decision: the method installs itself as on every model, the head moves in full beside it, and the layout on disk is
PEFT's own where PEFT has one (task type SEQ_CLS with the head in `modules_to_save`, or SEQ_2_SEQ_LM).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.files import fsync_tree
from luthier.engine.methods.contract import Installed, MethodSpec
from luthier.engine.methods.fits import HEADED_WORDS, OF_HEADED, check_kind
from luthier.engine.methods.folder import CONFIG, WEIGHTS, known_methods, read_config
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.methods.targets import layers_of
from luthier.engine.methods.wrapping import PREFIX

Task = Literal["SEQ_CLS", "SEQ_2_SEQ_LM"]


@dataclass(frozen=True, slots=True)
class Headed:
    """A `MethodSpec`: `inner` on the model, and the modules of `head` in full."""

    kind: ClassVar[str] = "headed"
    starts_as_base: ClassVar[bool] = False

    inner: MethodSpec
    task: Task
    head: tuple[str, ...] = ()

    @property
    def unmergeable(self) -> str:
        return self.inner.unmergeable

    def install(self, model: Any, seed: int) -> Installed:
        """The inner method's layers in place; the head as it stands. Raises UserError for a target that no layer has."""
        inner = self.inner
        if isinstance(inner, LoRASpec):
            inner = replace(inner, targets=tuple(n for n in inner.choose(layers_of(model)) if not in_head(n, self.head)))
        installed = inner.install(model, seed)
        found = {PREFIX + n: p.requires_grad_(True) for n, p in model.named_parameters() if in_head(n, self.head)}
        return Installed({**installed.parameters, **found}, installed.modules)

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """Write the inner method's folder with the task type, and the head among its weights (fsynced)."""
        self.inner.save(folder, weights, modules, base)
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config |= {"task_type": self.task, "modules_to_save": list(self.head) or None}
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        fsync_tree(folder)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Headed | None:
        """The spec of a saved adapter with a task type of a head's; None for another."""
        if config.get("task_type") not in ("SEQ_CLS", "SEQ_2_SEQ_LM"):
            return None
        plain = {**config, "modules_to_save": None}
        asked = (method.from_config(plain, weights) for method in known_methods() if method.kind in OF_HEADED)
        inner = next((spec for spec in asked if spec is not None), None)
        return None if inner is None else cls(inner, config["task_type"], tuple(config.get("modules_to_save") or ()))


def headed(method: MethodSpec, task: Task, head: tuple[str, ...]) -> Headed:
    """The method on a model with a head. Raises EngineRefused for a method that only decoders take."""
    check_kind("encoder" if task == "SEQ_CLS" else "seq2seq", method.kind)
    return Headed(method, task, head)


def load_headed(folder: Path, task: Task) -> tuple[Headed, dict[str, torch.Tensor]]:
    """Read what `Headed.save` wrote. Raises UserError for another kind of adapter, CorruptArtifact for bad bytes."""
    config = read_config(folder)
    try:
        weights = load_file(folder / WEIGHTS)
        spec = Headed.from_config(config, weights)
    except (SafetensorError, ValueError, KeyError, TypeError) as err:
        raise CorruptArtifact(f"the adapter {folder} cannot be read ({err}): train or copy it again") from None
    if spec is None or spec.task != task:
        got = f"{config['peft_type']} for {config.get('task_type')}"
        raise UserError(f"an adapter of {HEADED_WORDS} for {task} is wanted", got, str(folder))
    return spec, weights


def in_head(name: str, head: tuple[str, ...]) -> bool:
    """Whether a module or parameter is one of the head's modules or inside one, by its full name."""
    return any(f".{h}." in f".{name}." for h in head)
