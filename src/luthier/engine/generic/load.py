"""Builds the generic engine from a model folder: transformers' loader, the method on it, and the proof that it can be packed.

One decision: the proof runs on the bare model, before the method is put on it, so a refusal says what is true of the model;
learned tokens before every sequence change what is packed, so with them it runs again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from luthier.core.execution import Execution
from luthier.engine.generic.engine import GenericEngine, Limits
from luthier.engine.generic.packed import PackedModel
from luthier.engine.generic.probe import prove
from luthier.engine.methods.contract import MethodSpec
from luthier.engine.reference.engine import longest_of
from luthier.engine.reference.load import load_model, put_on

BUDGET = 1024
"""Unique tokens computed at once where `micro_batch_tokens` is auto: torch keeps every layer's activations of them."""


def load_generic(
    folder: Path, spec: MethodSpec | None, weights: dict[str, torch.Tensor] | None, seed: int, dtype: torch.dtype, execution: Execution
) -> GenericEngine:
    """weights: the adapter to start from, by saved name; None for a fresh one. Raises EngineRefused or UserError."""
    model = load_model(folder, dtype)
    packed = PackedModel(model)
    longest = prove(packed, str(folder))
    tuned = put_on(model, spec, weights, seed, folder.name)
    if tuned.root is not None:
        packed.root = tuned.root
        prove(packed, str(folder))
    budget = BUDGET if execution.micro_batch_tokens == "auto" else execution.micro_batch_tokens
    room = min(longest_of(model.config), _reach(model.config), longest or 2**31)
    limits = Limits(model.config.vocab_size, room - (tuned.root.num_tokens if tuned.root else 0), budget)
    return GenericEngine(packed, tuned.adapters, limits)


def _reach(config: Any) -> int:
    """Positions up to which rotary angles do not depend on how long the sequence is (longrope has two sets of them)."""
    rope = getattr(config, "rope_parameters", None) or {}
    return rope["original_max_position_embeddings"] if rope.get("rope_type") == "longrope" else 2**31
