"""Prompt tuning: learned token embeddings before every sequence (arXiv:2104.08691).

One decision: they start as the embeddings of tokens drawn from the vocabulary, so an untrained prompt is the model with those
tokens before the text; it is a root of the prefix tree and adds to no weight, so it cannot be merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.core.errors import UserError
from luthier.engine.methods.contract import Installed, KeyValue
from luthier.engine.methods.folder import write_folder
from luthier.engine.methods.start import generator_of
from luthier.engine.methods.wrapping import wrap

NAME = "prompt_embeddings"


@dataclass(frozen=True, slots=True)
class PromptRoot:
    """See `contract.Root`. wrapped: PEFT's model, which holds the learned embeddings."""

    num_tokens: int
    wrapped: Any

    def embeddings(self) -> torch.Tensor | None:
        return self.wrapped.get_prompt(batch_size=1)[0]

    def keys_values(self) -> list[KeyValue] | None:
        return None


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """tokens: how many are learned."""

    kind: ClassVar[str] = "prompt"
    starts_as_base: ClassVar[bool] = False

    tokens: int = 20

    @property
    def unmergeable(self) -> str:
        return "it adds tokens, not weights"

    def install(self, model: Any, seed: int) -> Installed:
        from peft import PromptTuningConfig

        check_room(int(model.config.max_position_embeddings), self.tokens)
        start = model.get_input_embeddings()(start_tokens(model, self.tokens, seed))
        wrapped, learned = install_root(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=self.tokens), start)
        return Installed(learned, (), PromptRoot(self.tokens, wrapped))

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """See `contract.MethodSpec`."""
        config = {
            "peft_type": "PROMPT_TUNING",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "num_virtual_tokens": self.tokens,
            "prompt_tuning_init": "RANDOM",
            "inference_mode": True,
        }
        write_folder(folder, config, weights)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> PromptSpec | None:
        return cls(int(config["num_virtual_tokens"])) if config["peft_type"] == "PROMPT_TUNING" else None


def start_tokens(model: Any, num: int, seed: int) -> torch.Tensor:
    """Tokens that a learned root starts as, int64 [num]: drawn from the vocabulary by the seed."""
    return torch.randint(model.config.vocab_size, (num,), generator=generator_of(seed, NAME))


def install_root(model: Any, config: Any, start: torch.Tensor) -> tuple[Any, dict[str, torch.nn.Parameter]]:
    """(PEFT's model, its one parameter by saved name), which starts as `start`. Raises UserError where PEFT gives it another size."""
    wrapped, parameters = wrap(model, config)
    wrapped.prompt_encoder.to(model.dtype)
    (parameter,) = parameters.values()
    if parameter.shape != start.shape:
        must = f"a model is wanted for which PEFT's {config.peft_type.value.lower()} has the size of its layers"
        got = f"{model.config.model_type}, whose own are {list(start.shape)} and PEFT's {list(parameter.shape)}"
        raise UserError(must, got, "train.method.kind", "use another method, e.g. lora")
    with torch.no_grad():
        parameter.copy_(start)
    return wrapped, {NAME: parameter}


def check_room(longest: int, num: int) -> None:
    """Raises UserError when learned tokens leave no room in the model's context of `longest` tokens."""
    if num >= longest:
        raise UserError(f"`tokens` must be below the model's context of {longest} tokens", num, "train.method.tokens")
