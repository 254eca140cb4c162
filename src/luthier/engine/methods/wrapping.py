"""PEFT's modules put into a model, their parameters under the names that PEFT saves them by.

One decision: only the adapter's name is taken out of a parameter's name, as PEFT does; the values that PEFT draws are
replaced by the method's own start, which does not depend on a global generator.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

PREFIX = "base_model.model."


def wrap(model: Any, config: Any) -> tuple[Any, dict[str, torch.nn.Parameter]]:
    """(PEFT's model around `model`, which now holds the adapter's modules; the trainable parameters by saved name)."""
    with quiet_bitsandbytes(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        from peft import get_peft_model

        warnings.simplefilter("ignore")  # advice about merging tied layers: export checks that itself
        wrapped = get_peft_model(model, config, autocast_adapter_dtype=False)
    return wrapped, {saved_name(n): p for n, p in wrapped.named_parameters() if p.requires_grad}


@contextmanager
def quiet_bitsandbytes() -> Iterator[None]:
    """Its advice about a kernel that is not used here stays off the user's terminal; the setting is put back."""
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def saved_name(name: str) -> str:
    """`...lora_A.default.weight` -> `...lora_A.weight`; `...ia3_l.default` -> `...ia3_l`."""
    if name.endswith(".lora_magnitude_vector.default.weight"):
        return name.removesuffix(".default.weight")
    if name.endswith(".default.weight"):
        return name.removesuffix(".default.weight") + ".weight"
    return name.removesuffix(".default")
