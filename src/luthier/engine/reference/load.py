"""Builds a transformers model with a tuning method on it, and the reference engine over it.

One decision: an engine over a transformers model gets both from `put_on`, so what is trained, by which names and
from which start is the same whatever computes it. The start never comes from PEFT's generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.engine.adapter import AdapterSet, AdapterSource
from luthier.engine.memory.dimensions import FAMILIES
from luthier.engine.methods.contract import MethodSpec, Root, fill
from luthier.engine.reference.engine import ReferenceEngine
from luthier.engine.reference.exact import attention_name, exact_norms

SERVED = (
    f"the fast engine computes {', '.join(FAMILIES)}; the generic engine every decoder of transformers that uses its attention interface "
    f"(GPT-2, GPT-NeoX, OPT ...), and Falcon; the reference engine every other one, a sequence at a time"
)
"""What a message says where no engine can serve a model."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """model: transformers', the method's modules in place; root: learned tokens that an engine must put before every sequence."""

    model: Any
    adapters: AdapterSet
    root: Root | None


def load_reference(
    folder: Path, spec: MethodSpec | None, weights: dict[str, torch.Tensor] | None, seed: int, dtype: torch.dtype
) -> ReferenceEngine:
    """weights: the adapter to start from, by saved name; None for a fresh one. Raises UserError or EngineRefused."""
    tuned = put_on(load_model(folder, dtype), spec, weights, seed, folder.name)
    return ReferenceEngine(tuned.model, tuned.adapters, tuned.root)


def load_model(folder: Path, dtype: torch.dtype, attention: str | None = None) -> Any:
    """The decoder in `folder` by transformers' own loader, frozen. attention: a name of its attention interface, None for the reference's.

    Raises UserError or EngineRefused.
    """
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise UserError("a model folder must hold config.json", str(folder))
    try:
        attention = attention or attention_name(folder, dtype)
        with _no_progress_bar():
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, attn_implementation=attention, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
    except (ValueError, KeyError, OSError) as err:
        reason = str(err).splitlines()[0].split(" Model type should be")[0]
        raise EngineRefused(f"a decoder that transformers can load is wanted: {reason}", where=str(folder), fix=SERVED) from None
    if dtype == torch.float64:
        exact_norms(model)
    model.eval().requires_grad_(False)
    _check_causal(model, str(folder))
    return model


@torch.no_grad()
def _check_causal(model: Any, where: str) -> None:
    """Raises EngineRefused for a model whose rows see later tokens: an encoder that transformers also loads as a decoder."""
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]]) % model.config.vocab_size
    first, second = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, :3].double()
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.nan_to_num().abs().max()), equal_nan=True):
        raise EngineRefused("a decoder is wanted: each token may depend on those before it alone", model.config.model_type, where, SERVED)


def put_on(model: Any, spec: MethodSpec | None, weights: dict[str, torch.Tensor] | None, seed: int, base: str) -> Tuned:
    """`model` with the method on it. weights: a saved adapter's, None for a fresh start; base: the model's name.

    Raises UserError for a method that the model cannot take, or an adapter of another model.
    """
    if spec is None:
        return Tuned(model, AdapterSet({}, AdapterSource(None, (), base)), None)
    try:
        installed = spec.install(model, seed)
    except UserError:
        raise
    except ValueError as err:
        raise UserError("the method must fit the model's layers", str(err).splitlines()[0], base) from None
    if weights is not None:
        fill(installed.parameters, weights, base)
    return Tuned(model, AdapterSet(installed.parameters, AdapterSource(spec, installed.modules, base)), installed.root)


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
