"""Builds the reference engine from a model folder: transformers' own loader, PEFT's own wrapper.

One decision: the initial adapter comes from `engine.lora`, not from PEFT's generator, so both engines start alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.engine.adapter import AdapterSet, AdapterSource
from luthier.engine.lora import PREFIX, LoRASpec, initial_weights
from luthier.engine.reference.engine import ReferenceEngine


def load_reference(
    folder: Path, spec: LoRASpec | None, weights: dict[str, torch.Tensor] | None, seed: int, dtype: torch.dtype
) -> ReferenceEngine:
    """weights: the adapter to start from, by saved name; None for a fresh one. Raises UserError or EngineRefused."""
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise UserError("a model folder must hold config.json", str(folder))
    attention = "sdpa" if dtype == torch.float64 else "eager"
    try:
        with _no_progress_bar():
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, attn_implementation=attention, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
    except (ValueError, KeyError, OSError) as err:
        raise EngineRefused(f"a decoder that transformers can load is wanted: {str(err).splitlines()[0]}", where=str(folder)) from None
    if dtype == torch.float64:
        _norms_in_full_precision(model)
    model.eval().requires_grad_(False)
    if spec is None:
        return ReferenceEngine(model, AdapterSet({}, AdapterSource(None, (), folder.name)))
    parameters, modules = _install(model, spec)
    shapes = _shapes(parameters)
    start = initial_weights(shapes, spec, seed, dtype) if weights is None else weights
    _fill(parameters, start)
    return ReferenceEngine(model, AdapterSet(parameters, AdapterSource(spec, modules, folder.name)))


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Loading draws no bar on the user's terminal; the setting is put back."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _norms_in_full_precision(model: Any) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                norm = torch.nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon, dtype=child.weight.dtype)
                norm.weight = child.weight
                setattr(parent, name, norm)


def _install(model: Any, spec: LoRASpec) -> tuple[dict[str, torch.nn.Parameter], tuple[str, ...]]:
    """PEFT's LoRA layers in place; returns the parameters by saved name and the adapted layers' last names."""
    from peft import LoraConfig, get_peft_model

    known = tuple(
        dict.fromkeys(n.rsplit(".", 1)[-1] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head")
    )
    modules = spec.resolve(known)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # pyright: ignore[reportArgumentType] - PEFT divides it, a float is right
        target_modules=list(modules),
        use_rslora=spec.rslora,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(model, config, autocast_adapter_dtype=False)
    found = {n.replace(".default.weight", ".weight"): p for n, p in wrapped.named_parameters() if p.requires_grad}
    return found, modules


def _shapes(parameters: dict[str, torch.nn.Parameter]) -> dict[str, tuple[int, int]]:
    ends = ".lora_B.weight"
    return {
        name.removeprefix(PREFIX).removesuffix(ends): (len(p), parameters[name.replace(".lora_B.", ".lora_A.")].shape[1])
        for name, p in parameters.items()
        if name.endswith(ends)
    }


def _fill(parameters: dict[str, torch.nn.Parameter], weights: dict[str, torch.Tensor]) -> None:
    if set(parameters) != set(weights):
        raise UserError("the adapter must be of this model and method", f"{len(weights)} tensors, {len(parameters)} wanted")
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(weights[name])
