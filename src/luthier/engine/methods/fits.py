"""Whether a base can take a tuning method, before anything is built with it: from its config alone, without a weight.

One decision: it asks the method's own checks on the architecture without weights, so what is said here is what training would
say after minutes of other work; what only the weights can show is still said then.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.errors import EngineRefused

if TYPE_CHECKING:
    from luthier.engine.methods.contract import MethodSpec
    from luthier.engine.models.kinds import ModelKind

OF_HEADED = ("lora", "full")
"""Methods, by kind, of models that are no plain decoders."""


def check_kind(kind: ModelKind, method: str) -> None:
    """Raises EngineRefused for a method that this kind of model does not take. method: its kind. Imports no torch."""
    if kind != "decoder" and method not in OF_HEADED:
        what = "an encoder" if kind == "encoder" else "an encoder-decoder"
        raise EngineRefused(f"{what} is trained with {' or '.join(OF_HEADED)}", method, "train.method.kind")


def check_method(folder: Path, kind: ModelKind, spec: MethodSpec) -> None:
    """Raises UserError or EngineRefused for settings that the architecture in `folder` cannot take: targets, rank, number of layers."""
    from luthier.engine.methods.bitfit import BitFitSpec, no_biases
    from luthier.engine.methods.last_layers import LastLayersSpec
    from luthier.engine.methods.lora import LoRASpec
    from luthier.engine.methods.prefix import PrefixSpec
    from luthier.engine.methods.prompt import PromptSpec, check_room
    from luthier.engine.methods.targets import decoder_layers, layers_of

    check_kind(kind, spec.kind)
    model = _without_weights(folder, kind)
    if model is None:
        return
    if isinstance(spec, LoRASpec):
        spec.choose(layers_of(model))
    elif isinstance(spec, LastLayersSpec):
        spec.check(len(decoder_layers(model)[1]))
    elif isinstance(spec, BitFitSpec) and not spec.create and not any(n.endswith(".bias") for n, _ in model.named_parameters()):
        raise no_biases(model.config.model_type)
    elif isinstance(spec, PrefixSpec | PromptSpec):
        check_room(model, spec.tokens)


def _without_weights(folder: Path, kind: ModelKind) -> Any:
    """The model's modules on torch's `meta` device; None for one that transformers cannot build, which loading will explain."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    classes: dict[str, Any] = {"encoder": AutoModelForSequenceClassification, "seq2seq": AutoModelForSeq2SeqLM}
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return classes.get(kind, AutoModelForCausalLM).from_config(config, trust_remote_code=False)
    except (ValueError, KeyError, OSError, ImportError, RuntimeError):
        return None
