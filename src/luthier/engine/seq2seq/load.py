"""Builds the encoder-decoder engine from a model folder: transformers' own class, a tuning method on it.

One decision: in float64 T5's norm, which rounds to float32 on the way, is torch's own, or no comparison would mean anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.export.loading import quiet_libraries
from luthier.engine.headed import headed, load_headed
from luthier.engine.methods.contract import MethodSpec
from luthier.engine.padded import group_tokens
from luthier.engine.reference.load import put_on
from luthier.engine.seq2seq.engine import Seq2SeqEngine, Shape


def load_seq2seq(folder: Path, method: MethodSpec | Path | None, execution: Execution, seed: int, dtype: torch.dtype) -> Seq2SeqEngine:
    """method: what to train, the folder of a trained adapter, or None. Raises UserError, EngineRefused or CorruptArtifact."""
    model = _load(folder, dtype, "eager" if execution.engine == "reference" else None)
    spec, weights = load_headed(method, "SEQ_2_SEQ_LM") if isinstance(method, Path) else (None, None)
    if method is not None and not isinstance(method, Path):
        spec = headed(method, "SEQ_2_SEQ_LM", ())
    with quiet_libraries():
        adapters = put_on(model, spec, weights, seed, folder.name).adapters
    return Seq2SeqEngine(model, adapters, group_tokens(execution), _shape(model, folder))


def _load(folder: Path, dtype: torch.dtype, attention: str | None) -> Any:
    """The model in evaluation mode (no dropout), frozen. attention: a name of transformers' attention interface; None for the best."""
    from transformers import AutoModelForSeq2SeqLM

    try:
        with quiet_libraries():
            loaded: Any = AutoModelForSeq2SeqLM.from_pretrained(
                folder, dtype=dtype, attn_implementation=attention, local_files_only=True, trust_remote_code=False,
                use_safetensors=True, output_loading_info=True,
            )  # fmt: skip
    except (ValueError, KeyError, OSError, ImportError) as err:
        must = f"an encoder-decoder that transformers can load is wanted: {str(err).splitlines()[0]}"
        raise EngineRefused(must, where=str(folder)) from None
    model, info = loaded
    if info["missing_keys"]:
        raise UserError("the folder must hold every weight of the model", f"no {sorted(info['missing_keys'])[0]}", str(folder))
    if dtype == torch.float64:
        _norms_in_full_precision(model)
    return model.eval().requires_grad_(False)


def _norms_in_full_precision(model: Any) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "T5LayerNorm":
                norm = torch.nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon, dtype=child.weight.dtype)
                norm.weight = child.weight
                setattr(parent, name, norm)


def _shape(model: Any, folder: Path) -> Shape:
    config, generation = model.config, model.generation_config
    start = config.decoder_start_token_id
    if start is None:
        raise UserError("an encoder-decoder must say its decoder's first token (decoder_start_token_id)", None, str(folder / "config.json"))
    longest = getattr(config, "max_position_embeddings", None)
    return Shape(config.vocab_size, longest, config.pad_token_id or 0, int(start), generation.forced_bos_token_id)
