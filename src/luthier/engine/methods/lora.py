"""LoRA as the engine sees it: shapes, names, the initial weights, and the PEFT adapter folder.

One decision: initial weights depend on the seed and the module's name alone, so every engine, module order
and dtype starts from the same numbers. Source: LoRA (arXiv:2106.09685), rsLoRA (arXiv:2312.03732).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from luthier.core.errors import CorruptArtifact, EngineRefused, UserError, did_you_mean
from luthier.core.files import fsync_tree, write_bytes
from luthier.engine.methods.contract import Installed, fill

PREFIX = "base_model.model."
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class LoRASpec:
    """W becomes W + scale * B @ A, with A [rank, in], B [out, rank], on every linear layer named in `targets`.

    targets: last parts of module names, or ("all-linear",) for every linear layer but the output head.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = ("all-linear",)
    rslora: bool = False

    @property
    def scale(self) -> float:
        return self.alpha / math.sqrt(self.rank) if self.rslora else self.alpha / self.rank

    def resolve(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """The module names among `known` to adapt. Raises UserError for a name that no layer has."""
        if self.targets == ("all-linear",):
            return known
        for name in self.targets:
            if name not in known:
                raise UserError("a LoRA target must be a linear layer of the model", name, "method.targets", did_you_mean(name, known))
        return tuple(n for n in known if n in self.targets)

    def install(self, model: Any, seed: int) -> Installed:
        """PEFT's LoRA layers in place, with the start of `initial_weights`."""
        from peft import LoraConfig, get_peft_model

        linears = _linears(model)
        modules = self.resolve(tuple(dict.fromkeys(n.rsplit(".", 1)[-1] for n in linears)))
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType] - PEFT divides it, a float is right
            target_modules=list(modules),
            use_rslora=self.rslora,
            fan_in_fan_out=any(linears.values()),
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        )
        wrapped = get_peft_model(model, config, autocast_adapter_dtype=False)
        found = {n.replace(".default.weight", ".weight"): p for n, p in wrapped.named_parameters() if p.requires_grad}
        fill(found, initial_weights(_shapes(found), self, seed, model.dtype), "a fresh LoRA")
        return Installed(found, modules)

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        save_adapter(folder, weights, self, modules, base)


def _linears(model: Any) -> dict[str, bool]:
    """The linear layers but the output layer, by name; True for those that store [in, out] (GPT-2's Conv1D)."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found = {n: isinstance(m, Conv1D) for n, m in model.named_modules() if isinstance(m, (torch.nn.Linear, Conv1D)) and m is not head}
    if len(set(found.values())) > 1:
        raise EngineRefused("LoRA wants linear layers that all store their weights one way", "Conv1D and Linear in one model")
    return found


def _shapes(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, tuple[int, int]]:
    """module -> (out, in), from A and B by saved name."""
    ends = ".lora_B.weight"
    return {
        name.removeprefix(PREFIX).removesuffix(ends): (len(p), parameters[name.replace(".lora_B.", ".lora_A.")].shape[1])
        for name, p in parameters.items()
        if name.endswith(ends)
    }


def a_name(module: str) -> str:
    """The saved name of a module's A, e.g. of `model.layers.0.self_attn.q_proj`."""
    return f"{PREFIX}{module}.lora_A.weight"


def b_name(module: str) -> str:
    """The saved name of a module's B."""
    return f"{PREFIX}{module}.lora_B.weight"


def initial_weights(shapes: Mapping[str, tuple[int, int]], spec: LoRASpec, seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5, PEFT's law), B zero, by saved name.

    shapes: module -> (out, in). Drawn in float32, one generator per module, then cast.
    """
    weights = {}
    for module, (out_features, in_features) in shapes.items():
        digest = hashlib.sha256(f"{seed}:{module}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        bound = 1.0 / math.sqrt(in_features)
        a = torch.rand(spec.rank, in_features, generator=generator).mul_(2 * bound).sub_(bound)
        weights[a_name(module)] = a.to(dtype)
        weights[b_name(module)] = torch.zeros(out_features, spec.rank, dtype=dtype)
    return weights


def save_adapter(folder: Path, weights: Mapping[str, torch.Tensor], spec: LoRASpec, modules: tuple[str, ...], base: str) -> None:
    """Write a PEFT adapter folder (fsynced; the weights' bytes depend on the weights alone). modules: resolved target names."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": 0.0,
        "use_rslora": spec.rslora,
        "target_modules": sorted(modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    body = save({k: weights[k].detach().contiguous() for k in sorted(weights)}, {"format": "pt"})
    write_bytes(folder / "adapter_model.safetensors", body)  # not save_file: it turns a full disk into an error of its own
    write_bytes(folder / "adapter_config.json", (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    fsync_tree(folder)


def load_adapter(folder: Path) -> tuple[LoRASpec, dict[str, torch.Tensor]]:
    """Read a PEFT LoRA folder. Raises UserError, CorruptArtifact, or EngineRefused for what plain LoRA does not cover."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "adapter_model.safetensors")
    except FileNotFoundError as err:
        raise UserError(
            "a PEFT adapter folder must hold adapter_config.json and adapter_model.safetensors", str(err.filename or folder)
        ) from None
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as err:
        raise CorruptArtifact(f"the adapter {folder} cannot be read ({err}): train or copy it again") from None
    for key, plain in (("peft_type", "LORA"), ("bias", "none"), ("use_dora", False), ("modules_to_save", None), ("fan_in_fan_out", False)):
        if config.get(key, plain) not in (plain, None):
            raise EngineRefused(f"an adapter with {key}={plain!r} is wanted", repr(config[key]), str(folder))
    for key in ("rank_pattern", "alpha_pattern"):
        if config.get(key):
            raise EngineRefused(f"an adapter without {key} is wanted", repr(config[key]), str(folder))
    targets = config["target_modules"]
    names = (targets,) if isinstance(targets, str) else tuple(sorted(targets))
    return LoRASpec(config["r"], config["lora_alpha"], names, bool(config.get("use_rslora", False))), weights
