"""Whether a base can take a tuning method, before anything is built with it: from its config alone, without a weight.

One decision: it asks the method's own checks on the architecture without weights, so what is said here is what training would
say after minutes of other work; what only the weights can show is still said then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.errors import EngineRefused

if TYPE_CHECKING:
    from luthier.engine.methods.contract import MethodSpec
    from luthier.engine.methods.targets import Layers
    from luthier.engine.models.kinds import ModelKind

OF_HEADED = ("lora", "dora", "ia3", "bottleneck", "bitfit", "last_layers", "full")
"""Methods, by kind, of models that are no plain decoders: all but a quantised base and learned tokens."""
HEADED_WORDS = f"{', '.join(OF_HEADED[:-1])} or {OF_HEADED[-1]}"


def check_kind(kind: ModelKind, method: str) -> None:
    """Raises EngineRefused for a method that this kind of model does not take. method: its kind. Imports no torch."""
    if kind != "decoder" and method not in OF_HEADED:
        what = "an encoder" if kind == "encoder" else "an encoder-decoder"
        raise EngineRefused(f"{what} is trained with {HEADED_WORDS}", method, "train.method.kind")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a method's checks ask of an architecture. depth: its layers; longest: tokens of a sequence."""

    family: str
    layers: Layers
    depth: int
    has_biases: bool
    longest: int


def check_method(folder: Path, kind: ModelKind, spec: MethodSpec) -> None:
    """Raises UserError or EngineRefused for settings that the architecture in `folder` cannot take: targets, rank, number of layers."""
    from luthier.engine.methods.bitfit import BitFitSpec, no_biases
    from luthier.engine.methods.last_layers import LastLayersSpec
    from luthier.engine.methods.lora import LoRASpec
    from luthier.engine.methods.prefix import PrefixSpec
    from luthier.engine.methods.prompt import PromptSpec, check_room

    check_kind(kind, spec.kind)
    shape = (_of_fast(folder) if kind == "decoder" else None) or _of_transformers(folder, kind)
    if shape is None:
        return
    if isinstance(spec, LoRASpec):
        spec.choose(shape.layers)
    elif isinstance(spec, LastLayersSpec):
        spec.check(shape.depth)
    elif isinstance(spec, BitFitSpec) and not spec.create and not shape.has_biases:
        raise no_biases(shape.family)
    elif isinstance(spec, PrefixSpec | PromptSpec):
        check_room(shape.longest, spec.tokens)


def _of_fast(folder: Path) -> _Shape | None:
    """Of a family of the fast engine, without importing transformers; None for another."""
    from luthier.engine.fast.architecture import read_architecture
    from luthier.engine.fast.load import layers_of

    try:
        arch = read_architecture(folder)
    except EngineRefused:  # another engine's
        return None
    return _Shape(arch.family, layers_of(arch), arch.layers, arch.qkv_bias, arch.longest)


def _of_transformers(folder: Path, kind: ModelKind) -> _Shape | None:
    """By the model's modules on torch's `meta` device; None for a model that transformers cannot build, which loading will explain."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    from luthier.engine.methods.targets import find_stack, layers_of
    from luthier.engine.reference.engine import longest_of

    classes: dict[str, Any] = {"encoder": AutoModelForSequenceClassification, "seq2seq": AutoModelForSeq2SeqLM}
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = classes.get(kind, AutoModelForCausalLM).from_config(config, trust_remote_code=False)
    except (ValueError, KeyError, OSError, ImportError, RuntimeError):
        return None
    biased = any(name.endswith(".bias") for name, _ in model.named_parameters())
    stack = find_stack(model)
    depth = len(stack[1]) if stack else 0
    return _Shape(config.model_type, layers_of(model), depth, biased, longest_of(config))
