"""Encoders with a head and encoder-decoders as plain transformers and PEFT load them: the other side of a comparison.

One decision: nothing of Luthier's engines, renderers or adapters is used. Texts go through the model folder's own tokenizer as
transformers opens it, so a comparison covers the whole way from a text to the outputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from luthier.core.errors import EngineRefused
from luthier.engine.export.loading import quiet_libraries, with_adapter

Texts = tuple[str, str | None]
"""A text, or a text and its pair."""
Cut = tuple[int, Literal["start", "end"]] | None
"""(most tokens, the side that is cut), None for whole texts."""


def load_tuned_headed(base: Path, adapter: Path, num_values: int | None) -> Any:
    """The base with the adapter and its head beside it (not merged), float32. num_values: outputs of the head; None without one.

    Raises UserError for an adapter of another base, EngineRefused for a base that transformers cannot load or a method that
    only Luthier has.
    """
    return with_adapter(load_bare_headed(base, num_values), adapter)


def load_bare_headed(base: Path, num_values: int | None) -> Any:
    """The base with a head that is not trained, float32, frozen. Raises EngineRefused."""
    from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    loader: Any = AutoModelForSeq2SeqLM if num_values is None else AutoModelForSequenceClassification
    sized = {} if num_values is None else {"num_labels": num_values}
    try:
        with quiet_libraries():
            model = loader.from_pretrained(
                base, dtype=torch.float32, attn_implementation="eager", local_files_only=True, trust_remote_code=False,
                use_safetensors=True, ignore_mismatched_sizes=True, **sized,
            )  # fmt: skip
    except (ValueError, KeyError, OSError, RuntimeError) as err:
        raise EngineRefused(f"a model that transformers can load is wanted: {str(err).splitlines()[0]}", where=str(base)) from None
    return model.eval().requires_grad_(False)


def open_tokenizer(base: Path) -> Any:
    """The folder's tokenizer as transformers opens it."""
    from transformers import AutoTokenizer

    with quiet_libraries():
        return AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)


def encoded(tokenizer: Any, texts: Texts, cut: Cut = None, types: bool = False) -> Any:
    """Ids, mask and (with `types`) type ids of one text or pair, tensors [1, N]. Typed control tokens stay text."""
    limits: dict[str, Any] = {"return_token_type_ids": types}
    if cut is not None:
        tokenizer.truncation_side = {"start": "left", "end": "right"}[cut[1]]
        limits |= {"truncation": "longest_first", "max_length": cut[0]}
    return tokenizer(texts[0], texts[1], return_tensors="pt", split_special_tokens=True, **limits)


@torch.no_grad()
def head_values(model: Any, tokenizer: Any, rows: Sequence[Texts], cut: Cut = None) -> np.ndarray:
    """The head's outputs for each text or pair, read one at a time, float64 [n, num_values]."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    types = "token_type_ids" in inspect.signature(plain.forward).parameters
    return np.stack([model(**encoded(tokenizer, texts, cut, types)).logits[0].double().numpy() for texts in rows])


@torch.no_grad()
def answer_logprobs(model: Any, tokenizer: Any, rows: Sequence[tuple[str, str]], cut: Cut = None) -> list[np.ndarray]:
    """Log-probabilities of each answer's tokens after its source, as transformers' own labels are scored, float64 [num_tokens]."""
    out = []
    for source, answer in rows:
        labels = encoded(tokenizer, (answer, None))["input_ids"]
        inputs = encoded(tokenizer, (source, None), cut)
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels).logits[0]
        out.append(torch.log_softmax(logits.double(), -1).gather(1, labels[0][:, None])[:, 0].numpy())
    return out
