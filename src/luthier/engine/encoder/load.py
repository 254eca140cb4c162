"""Builds the encoder engine from a model folder: transformers' own classes, with a new head for the project's answers.

One decision: the head (and a pooler that the folder lacks) always starts anew, from the seed and the tensor's name alone;
a head that the folder brings answers another question, and is not kept even where its size fits.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.encoder.engine import EncoderEngine, Shape
from luthier.engine.export.loading import quiet_libraries
from luthier.engine.headed import headed, in_head, load_headed
from luthier.engine.methods.contract import MethodSpec
from luthier.engine.models.kinds import positions_taken
from luthier.engine.padded import group_tokens
from luthier.engine.reference.load import put_on
from luthier.engine.text.answers import Answers
from luthier.engine.text.files import read_special_tokens
from luthier.engine.text.tokenizer import TextTokenizer

_PROBLEMS = {"label": "single_label_classification", "labels": "multi_label_classification", "number": "regression"}


def load_encoder(
    folder: Path, answers: Answers | None, method: MethodSpec | Path | None, execution: Execution, seed: int, dtype: torch.dtype
) -> EncoderEngine:
    """answers: what the head gives; None for the bare encoder, which can embed and nothing else.

    method: what to train, the folder of a trained adapter, or None. Raises UserError, EngineRefused or CorruptArtifact.
    """
    alone = execution.engine == "reference"
    model, new = _load(folder, answers, dtype, "eager" if alone else None)
    head = _head_modules(model, new) if answers is not None else ()
    if answers is not None:
        _start(model, head, seed)
    spec, weights = load_headed(method, "SEQ_CLS") if isinstance(method, Path) else (None, None)
    if spec is not None and spec.head != head:
        raise UserError("the adapter must be of this model", f"a head of {', '.join(spec.head)}, not {', '.join(head)}", str(method))
    if method is not None and not isinstance(method, Path):
        spec = headed(method, "SEQ_CLS", head)
    with quiet_libraries():
        adapters = put_on(model, spec, weights, seed, folder.name).adapters
    return EncoderEngine(model, adapters, group_tokens(execution), _shape(model.config, folder), answers)


def _load(folder: Path, answers: Answers | None, dtype: torch.dtype, attention: str | None) -> tuple[Any, list[str]]:
    """The model in evaluation mode (no dropout), frozen; and the names of the parameters that the folder did not have.

    attention: a name of transformers' attention interface; None for the best that the model has.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    try:
        with quiet_libraries():
            config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            if answers is not None:
                config.num_labels, config.problem_type = answers.num_values, _PROBLEMS[answers.kind]
            loader = AutoModel if answers is None else AutoModelForSequenceClassification
            loaded: Any = loader.from_pretrained(
                folder, config=config, dtype=dtype, attn_implementation=attention, local_files_only=True, trust_remote_code=False,
                use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True,
            )  # fmt: skip
    except (ValueError, KeyError, OSError, ImportError) as err:
        raise EngineRefused(f"an encoder that transformers can load is wanted: {str(err).splitlines()[0]}", where=str(folder)) from None
    model, info = loaded
    return model.eval().requires_grad_(False), sorted(info["missing_keys"])


def _head_modules(model: Any, new: list[str]) -> tuple[str, ...]:
    """Names of the modules outside the encoder that have weights, and of a pooler that the folder lacks."""
    found = [n for n, m in model.named_children() if n != model.base_model_prefix and any(True for _ in m.parameters())]
    missing = [n for n in new if not in_head(n, tuple(found))]
    poolers = sorted({n.split(".")[1] for n in missing if n.startswith(f"{model.base_model_prefix}.pooler.")})
    lacking = [n for n in missing if not in_head(n, tuple(poolers))]
    if lacking:
        raise UserError("the folder must hold every weight of the encoder", f"no {lacking[0]}", str(model.config.name_or_path))
    return tuple(sorted([*found, *poolers]))


@torch.no_grad()
def _start(model: Any, head: tuple[str, ...], seed: int) -> None:
    """Matrices from a normal law of the model's own `initializer_range`, biases zero."""
    for name, parameter in model.named_parameters():
        if in_head(name, head):
            digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            drawn = torch.randn(parameter.shape, generator=generator) * model.config.initializer_range
            parameter.copy_(drawn if parameter.dim() > 1 else torch.zeros_like(parameter))


def _shape(config: Any, folder: Path) -> Shape:
    tokenizer = TextTokenizer.load(folder)
    separator = tokenizer.control.get(read_special_tokens(folder).get("sep_token", ""))
    typed = getattr(config, "type_vocab_size", 0) > 1 and tokenizer.pair_types()
    longest = config.max_position_embeddings - positions_taken(config.to_dict())
    return Shape(config.vocab_size, longest, config.pad_token_id or 0, separator if typed else None)
