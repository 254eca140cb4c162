"""Keyed noise on a transformers model with PEFT's layers: hooks that multiply by, or add, what `engine.noise` says.

One decision: the model stays as it is, and outside `on` the hooks do nothing; PEFT's own dropout module is where LoRA dropout
goes, so that its place in the computation is PEFT's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from luthier.core.errors import EngineRefused
from luthier.engine.contract import NoiseRates
from luthier.engine.noise import TokenNoise


class ModelNoise:
    """The hooks of one model. Raises EngineRefused where the model has no place for a noise that is asked for."""

    _now: TokenNoise | None

    def __init__(self, model: Any, rates: NoiseRates) -> None:
        self._rates, self._now = rates, None
        if rates.embedding:
            model.get_input_embeddings().register_forward_hook(self._embedding)
        if rates.lora:
            self._on_adapters(model)
        if rates.dropout:
            self._on_sublayers(model)

    @contextmanager
    def on(self, noise: TokenNoise | None) -> Iterator[None]:
        """Within it every row of the model's input has `noise`. Raises EngineRefused for rates other than the first ones."""
        if noise is not None and noise.rates != self._rates:
            raise EngineRefused(f"an engine keeps to the noise it began with, {self._rates}", noise.rates)
        self._now = noise
        try:
            yield
        finally:
            self._now = None

    def apply(self, x: torch.Tensor, rate: float, place: str) -> torch.Tensor:
        """x [1, N, width], or [N, width], after dropout."""
        now = self._now
        if now is None:
            return x
        rows = x.reshape(-1, x.shape[-1])
        self._fits(rows)
        return torch.cat([rows[at] * factor for at, factor in now.factors(rate, place, rows.shape[1], x.dtype)]).view_as(x)

    def rates(self) -> NoiseRates:
        return self._now.rates if self._now is not None else NoiseRates()

    def _fits(self, rows: torch.Tensor) -> None:
        if self._now is not None and len(rows) != len(self._now.keys):
            raise EngineRefused(
                "noise is for the tokens of a row alone", f"{len(rows)} rows for {len(self._now.keys)} tokens", "train.method"
            )

    def _embedding(self, module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
        if self._now is None:
            return out
        rows = out.reshape(-1, out.shape[-1])
        self._fits(rows)
        return (rows + self._now.embedding(rows.shape[1], rows.dtype)).view_as(out)

    def _on_adapters(self, model: Any) -> None:
        found = [(n, m) for n, m in model.named_modules() if isinstance(getattr(m, "lora_dropout", None), torch.nn.ModuleDict)]
        if not found:
            raise EngineRefused("LoRA dropout needs a method of LoRA's kind", where="train.method.dropout")
        for name, module in found:
            for adapter in module.lora_dropout:
                module.lora_dropout[adapter] = _Dropout(self, name)

    def _on_sublayers(self, model: Any) -> None:
        layers = getattr(model.get_decoder(), "layers", ())
        parts = [(i, name, getattr(layer, name, None)) for i, layer in enumerate(layers) for name in ("self_attn", "mlp")]
        if not parts or any(module is None for _, _, module in parts):
            raise EngineRefused("dropout needs layers with self_attn and mlp", model.config.model_type, "train.regularisation.dropout")
        for i, name, module in parts:
            assert module is not None
            module.register_forward_hook(_after(self, f"model.layers.{i}.{name}"))


class _Dropout(torch.nn.Module):
    """Stands in PEFT's place for dropout."""

    def __init__(self, noise: ModelNoise, place: str) -> None:
        super().__init__()
        self._noise, self._place = [noise], place  # in a list: a plain object, not a submodule

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = self._noise[0]
        return noise.apply(x, noise.rates().lora, self._place)


def _after(noise: ModelNoise, place: str) -> Any:
    def hook(module: Any, args: Any, out: Any) -> Any:
        first = out[0] if isinstance(out, tuple) else out
        dropped = noise.apply(first, noise.rates().dropout, place)
        return (dropped, *out[1:]) if isinstance(out, tuple) else dropped

    return hook
