"""A tuning method on an encoder with its head, or on an encoder-decoder: which parameters move, by which saved names.

One decision: the layout on disk is PEFT's own (task type SEQ_CLS with the head in `modules_to_save`, or SEQ_2_SEQ_LM), and
adapted layers are named in full, since last names such as `dense` stand inside a head too.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from luthier.core.errors import CorruptArtifact, EngineRefused, UserError, did_you_mean
from luthier.core.files import fsync_tree
from luthier.engine.methods.contract import Installed
from luthier.engine.methods.lora import LoRASpec

Task = Literal["SEQ_CLS", "SEQ_2_SEQ_LM"]
CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."


@dataclass(frozen=True, slots=True)
class Headed:
    """A `MethodSpec`: LoRA on every linear layer that is not in `head`, and the modules of `head` in full."""

    kind: ClassVar[str] = "headed"
    starts_as_base: ClassVar[bool] = False

    inner: LoRASpec
    task: Task
    head: tuple[str, ...] = ()

    @property
    def unmergeable(self) -> str:
        return ""

    def install(self, model: Any, seed: int) -> Installed:
        """PEFT's LoRA layers in place; the head as it stands. Raises UserError for a target that no layer has."""
        from peft import LoraConfig, get_peft_model

        names = self._targets(model)
        config = LoraConfig(
            r=self.inner.rank,
            lora_alpha=self.inner.alpha,  # pyright: ignore[reportArgumentType] - PEFT divides it, a float is right
            target_modules=list(names),
            use_rslora=self.inner.rslora,
            lora_dropout=0.0,
            bias="none",
        )
        wrapped = get_peft_model(model, config, autocast_adapter_dtype=False)
        found = {n.replace(".default.weight", ".weight"): p for n, p in wrapped.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name, parameter in found.items():
                parameter.copy_(_start(name, tuple(parameter.shape), seed))
        found |= {PREFIX + n: p.requires_grad_(True) for n, p in model.named_parameters() if in_head(n, self.head)}
        return Installed(found, names)

    def _targets(self, model: Any) -> tuple[str, ...]:
        """Full names of the layers to adapt."""
        linears = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head" and not in_head(n, self.head)]
        if self.inner.targets == ("all-linear",):
            return tuple(linears)
        last = {n.rsplit(".", 1)[-1] for n in linears}
        for target in self.inner.targets:
            if target not in last and target not in linears:
                raise UserError("a LoRA target must be a linear layer of the model", target, "method.targets", did_you_mean(target, last))
        return tuple(n for n in linears if n in self.inner.targets or n.rsplit(".", 1)[-1] in self.inner.targets)

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """Write a PEFT folder with the task type, and the head among its weights (fsynced)."""
        self.inner.save(folder, weights, modules, base)
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config |= {"task_type": self.task, "modules_to_save": list(self.head) or None}
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        fsync_tree(folder)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Headed | None:
        """The spec of a saved LoRA with a task type of a head's; None for another."""
        if config["peft_type"] != "LORA" or config.get("task_type") not in ("SEQ_CLS", "SEQ_2_SEQ_LM"):
            return None
        inner = LoRASpec(config["r"], config["lora_alpha"], tuple(config["target_modules"]), bool(config.get("use_rslora")))
        return cls(inner, config["task_type"], tuple(config.get("modules_to_save") or ()))


def headed(method: Any, task: Task, head: tuple[str, ...]) -> Headed:
    """The method on a model with a head. Raises EngineRefused for a method that only decoders take."""
    if type(method) is not LoRASpec:
        what = "an encoder" if task == "SEQ_CLS" else "an encoder-decoder"
        raise EngineRefused(f"{what} is trained with lora", type(method).__name__, "train.method.kind")
    return Headed(method, task, head)


def load_headed(folder: Path, task: Task) -> tuple[Headed, dict[str, torch.Tensor]]:
    """Read what `Headed.save` wrote. Raises UserError for another kind of adapter, CorruptArtifact for bad bytes."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        spec = Headed.from_config(config, weights)
    except FileNotFoundError as err:
        raise UserError(f"a PEFT adapter folder must hold {CONFIG} and {WEIGHTS}", str(err.filename or folder)) from None
    except (SafetensorError, ValueError, KeyError, TypeError) as err:
        raise CorruptArtifact(f"the adapter {folder} cannot be read ({err}): train or copy it again") from None
    if spec is None or spec.task != task:
        got = f"{config['peft_type']} for {config.get('task_type')}"
        raise UserError(f"an adapter of the type LORA for {task} is wanted", got, str(folder))
    return spec, weights


def in_head(name: str, head: tuple[str, ...]) -> bool:
    """Whether a module or parameter is one of the head's modules or inside one, by its full name."""
    return any(f".{h}." in f".{name}." for h in head)


def _start(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """The start of one LoRA matrix by its saved name, float32: the law of `methods.lora`, A uniform, B zero."""
    module, _, part = name.removeprefix(PREFIX).rpartition(".lora_")
    if part != "A.weight":
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(f"{seed}:{module}".encode()).digest()[:8], "big") >> 1)
    bound = 1.0 / math.sqrt(shape[1])
    return torch.rand(shape, generator=generator).mul_(2 * bound).sub_(bound)
