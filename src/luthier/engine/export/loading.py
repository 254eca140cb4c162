"""Models as plain transformers and PEFT load them: the source of an export, and the export itself when it is read back.

One decision: nothing here uses Luthier's own engines or adapters, so a comparison of the two sides is not a program
compared with itself. Names and shapes must agree exactly; what these libraries only warn about is an error here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.engine.methods.changed import OWN_FORMS
from luthier.engine.methods.folder import WEIGHTS, read_adapter, read_config
from luthier.engine.methods.qlora import QLoRASpec
from luthier.engine.methods.wrapping import PREFIX
from luthier.engine.models.safety import read_header

_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Ways of starting a LoRA that leave the base as it is (PEFT: `init_lora_weights`)."""


def load_plain(folder: Path, gguf_file: str | None = None) -> Any:
    """The model in `folder` (or of a GGUF file in it) in float32, by transformers.

    Raises UserError when weights are missing or left over.
    """
    from transformers import AutoModelForCausalLM

    try:
        with quiet_libraries():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True, trust_remote_code=False,
                use_safetensors=True, gguf_file=gguf_file, output_loading_info=True,
            )  # fmt: skip
    except (ValueError, KeyError, OSError, RuntimeError) as err:
        raise EngineRefused(f"a decoder that transformers can load is wanted: {str(err).splitlines()[0]}", where=str(folder)) from None
    model, info = loaded
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    wrong = [f"{kind}: {sorted(str(n) for n in info[kind])[0]}" for kind in kinds if info[kind]]
    if wrong:
        raise UserError("a model's weights must be those of its architecture", "; ".join(wrong), str(folder))
    return model.eval().requires_grad_(False)


def load_tuned(base: Path, adapter: Path | None) -> Any:
    """The base with the adapter beside it (not merged) in float32; the base alone when `adapter` is None.

    Raises UserError for an adapter of another base (a missing or an unexpected tensor, another shape), CorruptArtifact
    for weights that cannot be read.
    """
    model = load_plain(base)
    return model if adapter is None else with_adapter(model, adapter)


def merge(model: Any) -> Any:
    """The model with its adapter added into the weights, in the model's own precision (float32). Raises EngineRefused."""
    if not hasattr(model, "active_peft_config"):
        return model
    config, fix = model.active_peft_config, "export it with `--to peft`"
    if config.is_prompt_learning:
        raise EngineRefused("an adapter that adds to weights is wanted", f"{config.peft_type.value}: it adds tokens, not weights", fix=fix)
    if model.config.tie_word_embeddings and _adapts_vocabulary(model):
        raise EngineRefused("an adapter that can be merged is wanted", "one on a head that is tied to the embedding", fix=fix)
    try:
        return model.merge_and_unload(safe_merge=True)
    except (NotImplementedError, ValueError, AttributeError) as err:
        raise EngineRefused(f"an adapter that can be merged is wanted: {str(err).splitlines()[0]}", config.peft_type.value) from None


def _adapts_vocabulary(model: Any) -> bool:
    base = model.get_base_model()
    return any(hasattr(m, "base_layer") for m in (base.get_input_embeddings(), base.get_output_embeddings()))


def adapter_config(folder: Path) -> dict[str, Any]:
    """`methods.folder.read_config`, of an adapter that leaves its base as it is. Raises EngineRefused for another one."""
    config = read_config(folder)
    start = config.get("init_lora_weights", True)
    if config["peft_type"] == "LORA" and start not in _PLAIN_STARTS:
        fix = "convert it to a plain LoRA first (PEFT: `save_pretrained(path_initial_model_for_weight_conversion=...)`)"
        raise EngineRefused("an adapter that leaves its base unchanged is wanted", f"init_lora_weights={start!r}", str(folder), fix)
    return config


def _with_own_form(model: Any, folder: Path) -> Any:
    """The model with the tensors of a form that PEFT does not have in the place of its own."""
    from safetensors.torch import load_file

    weights = {name.removeprefix(PREFIX): t for name, t in load_file(folder / WEIGHTS).items()}
    parameters = dict(model.named_parameters())
    strange = {n: list(t.shape) for n, t in weights.items() if n not in parameters or parameters[n].shape != t.shape}
    if strange:
        first = next(iter(strange))
        raise UserError("the adapter must be of this base and method", f"{first} with shape {strange[first]}", str(folder))
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)
    return model


def with_adapter(model: Any, folder: Path) -> Any:
    """The plain model with the adapter of `folder` beside its weights, by PEFT. Raises UserError for an adapter of another model."""
    from safetensors.torch import load_file

    config = adapter_config(folder)
    kind = config["peft_type"]
    if kind in OWN_FORMS and not config.get("create"):
        return _with_own_form(model, folder)
    if kind.startswith("LUTHIER_"):
        spec = read_adapter(folder)[0]
        raise EngineRefused("a method that other programs know is wanted", f"{spec.kind}: {spec.unmergeable}", str(folder))
    if "luthier" in config:
        spec = read_adapter(folder)[0]
        assert isinstance(spec, QLoRASpec)
        spec.round(model)
    with quiet_libraries():  # what PEFT finds to say about other libraries when it is first imported
        from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    try:
        with quiet_libraries():
            wrapped: Any = get_peft_model(model, PeftConfig.from_pretrained(str(folder)), autocast_adapter_dtype=False)
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise UserError(f"the adapter must be of this base: {str(err).splitlines()[0][:200]}", kind, str(folder)) from None
    wanted = {name: tuple(t.shape) for name, t in get_peft_model_state_dict(wrapped, save_embedding_layers=False).items()}
    found = {span.name: span.shape for span in read_header(folder / WEIGHTS)}
    _same_tensors(wanted, found, folder)
    set_peft_model_state_dict(wrapped, {n: t.float() for n, t in load_file(folder / WEIGHTS).items()})
    return wrapped.eval().requires_grad_(False)


def _same_tensors(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], folder: Path) -> None:
    wrong = [f"{n} is missing" for n in wanted if n not in found]
    wrong += [f"{n} is not part of it" for n in found if n not in wanted]
    wrong += [f"{n} has shape {list(found[n])}, wanted {list(s)}" for n, s in wanted.items() if n in found and found[n] != s]
    if wrong:
        more = f" (and {len(wrong) - 2} more)" if len(wrong) > 2 else ""
        raise UserError("the adapter must be of this base and method", "; ".join(wrong[:2]) + more, str(folder))


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Loading draws no bar and prints no advice on the user's terminal; the settings are put back."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # bars that no setting turns off
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
