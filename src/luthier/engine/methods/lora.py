"""LoRA as the engine sees it: shapes, names, the initial weights, and the PEFT adapter folder.

One decision: initial weights depend on the seed and the module's name alone, so every engine, module order
and dtype starts from the same numbers. Source: LoRA (arXiv:2106.09685), rsLoRA (arXiv:2312.03732).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.engine.methods.contract import Installed
from luthier.engine.methods.folder import write_folder
from luthier.engine.methods.start import normal, uniform
from luthier.engine.methods.targets import ALL_LINEAR, Layers, layers_of, saved_modules, select
from luthier.engine.methods.wrapping import PREFIX, wrap

_PLAIN = (("bias", "none"), ("modules_to_save", None), ("rank_pattern", {}), ("alpha_pattern", {}), ("lora_bias", False))
"""Settings of a PEFT LoRA that change what is computed, with the value that this file computes."""


@dataclass(frozen=True, slots=True)
class LoRASpec:
    """W becomes W + scale * B @ A, with A [rank, in], B [out, rank], on every layer that `targets` name (see `targets.select`)."""

    kind: ClassVar[str] = "lora"
    starts_as_base: ClassVar[bool] = True

    rank: int
    alpha: float
    targets: tuple[str, ...] = ALL_LINEAR
    rslora: bool = False

    @property
    def scale(self) -> float:
        return self.alpha / math.sqrt(self.rank) if self.rslora else self.alpha / self.rank

    def choose(self, layers: Layers) -> dict[str, tuple[int, int]]:
        """(out, in) of each layer to adapt, by full name. Raises UserError for a target that no layer has, or a rank above a dimension."""
        shapes = {**layers.linear, **layers.others}
        chosen = {name: shapes[name] for name in select(self.targets, layers)}
        for name, shape in chosen.items():
            if self.rank > min(shape):
                fix = f"use rank={min(min(s) for s in chosen.values())} or less"
                raise UserError(f"`rank` must be at most {min(shape)}, the smaller side of {name}", self.rank, "train.method.rank", fix)
        return chosen

    def peft_options(self) -> dict[str, Any]:
        """Options of PEFT's LoraConfig besides those that every variant shares."""
        return {}

    @property
    def unmergeable(self) -> str:
        return ""

    def install(self, model: Any, seed: int) -> Installed:
        """PEFT's LoRA layers in place, with the start of `initial_weights`."""
        from peft import LoraConfig

        layers = layers_of(model)
        modules = saved_modules(self.choose(layers), layers)
        options = {**self._config(modules), **self.peft_options()}
        transposed = any(type(m).__name__ == "Conv1D" for m in model.modules())
        here = {"fan_in_fan_out": transposed, "target_modules": list(modules), "inference_mode": False, "task_type": None}
        config = LoraConfig(**options | here)
        parameters = wrap(model, config)[1]
        with torch.no_grad():
            for name, start in self._start(parameters, seed).items():
                parameters[name].copy_(start)
        return Installed(parameters, modules)

    def _start(self, parameters: Mapping[str, torch.nn.Parameter], seed: int) -> dict[str, torch.Tensor]:
        """A and B of linear layers; of an embedding A is zero and B normal, as in PEFT. What else there is keeps its value."""
        out: dict[str, torch.Tensor] = {}
        for name, p in parameters.items():
            module, _, part = name.removeprefix(PREFIX).rpartition(".lora_")
            if part in ("A.weight", "B.weight"):
                out[name] = _start_of(module, part, tuple(p.shape), seed)
            elif part == "embedding_A":
                out[name] = torch.zeros(p.shape)
            elif part == "embedding_B":
                out[name] = normal(tuple(p.shape), 1.0, seed, module)
        return out

    def _config(self, modules: tuple[str, ...]) -> dict[str, Any]:
        return {
            "task_type": "CAUSAL_LM",
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "use_rslora": self.rslora,
            "target_modules": sorted(modules),
            "bias": "none",
            "fan_in_fan_out": False,
            "init_lora_weights": True,
            "inference_mode": True,
        }

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """See `contract.MethodSpec`."""
        config = {"peft_type": "LORA", "base_model_name_or_path": base, **self._config(modules), **self.peft_options()}
        write_folder(folder, config, weights)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> LoRASpec | None:
        """A plain LoRA. Raises EngineRefused for a variant of it that no method here computes."""
        if config["peft_type"] != "LORA" or config.get("use_dora") or "luthier" in config:
            return None
        return cls(*read_lora(config, weights))


def read_lora(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> tuple[int, float, tuple[str, ...], bool]:
    """rank, alpha, targets and rslora of a PEFT config. A pattern of PEFT's is replaced by the modules that have weights."""
    for key, plain in _PLAIN:
        if config.get(key) and config[key] != plain:
            raise EngineRefused(f"an adapter with {key}={plain!r} is wanted", repr(config[key]), CONFIG_NAME)
    if "pissa" in str(config.get("init_lora_weights")) or "olora" in str(config.get("init_lora_weights")):
        raise EngineRefused("an adapter that leaves its base unchanged is wanted", f"init_lora_weights={config['init_lora_weights']!r}")
    targets = config["target_modules"]
    if isinstance(targets, str) and targets != "all-linear":
        targets = dict.fromkeys(name.removeprefix(PREFIX).partition(".lora_")[0] for name in weights)
    names = (targets,) if isinstance(targets, str) else tuple(sorted(targets))
    return int(config["r"]), float(config["lora_alpha"]), names, bool(config.get("use_rslora", False))


CONFIG_NAME = "adapter_config.json"


def a_name(module: str) -> str:
    """The saved name of a module's A, e.g. of `model.layers.0.self_attn.q_proj`."""
    return f"{PREFIX}{module}.lora_A.weight"


def b_name(module: str) -> str:
    """The saved name of a module's B."""
    return f"{PREFIX}{module}.lora_B.weight"


def magnitude_name(module: str) -> str:
    """The saved name of DoRA's lengths of a module's rows."""
    return f"{PREFIX}{module}.lora_magnitude_vector"


def initial_weights(shapes: Mapping[str, tuple[int, int]], spec: LoRASpec, seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5, PEFT's law), B zero, by saved name. shapes: linear layer -> (out, in)."""
    weights = {}
    for module, (out_features, in_features) in shapes.items():
        weights[a_name(module)] = _start_of(module, "A.weight", (spec.rank, in_features), seed).to(dtype)
        weights[b_name(module)] = _start_of(module, "B.weight", (out_features, spec.rank), seed).to(dtype)
    return weights


def _start_of(module: str, part: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return uniform(shape, 1.0 / math.sqrt(shape[1]), seed, module) if part == "A.weight" else torch.zeros(shape)
