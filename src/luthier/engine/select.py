"""Which engine does the work: chosen openly, recorded in its `name`, with the reason of a refusal in `refusal`.

One decision: an engine that is named raises when it cannot give the exact result; only `auto` goes on to the next one, from
fast to generic to reference, and keeps every reason.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.contract import Engine
from luthier.engine.fast.load import load_fast
from luthier.engine.generic.load import load_generic
from luthier.engine.memory.least import check_least
from luthier.engine.methods.contract import MethodSpec
from luthier.engine.methods.folder import read_adapter
from luthier.engine.models.kinds import WORDS, folder_kind
from luthier.engine.reference.load import load_reference

Dtype = Literal["float32", "float64", "bfloat16"]


def load_engine(
    folder: Path, method: MethodSpec | None, execution: Execution, seed: int, adapter: Path | None = None, dtype: Dtype = "float32"
) -> Engine:
    """An engine on the model in `folder` (a local folder of config.json and safetensors).

    method: what to train; None for the model as it is. adapter: a saved adapter's folder to start from (its own settings
    count when method is None). Raises EngineRefused, UserError or CorruptArtifact.
    """
    precision = prepare_machine(execution, dtype)
    _only_decoders(folder)
    spec, weights = read_adapter(adapter) if adapter is not None else (method, None)
    if method is not None and weights is not None:
        spec = _same(method, spec, adapter)
    if execution.engine in ("generic", "reference") and dtype == "bfloat16":
        fix = "use train.precision=float32"
        must = f"precision=float32 or float64 is wanted: the {execution.engine} engine has no products in bfloat16"
        raise EngineRefused(must, dtype, "train.precision", fix)
    reasons: list[str] = []
    for name, load in (("fast", load_fast), ("generic", load_generic)):
        if execution.engine not in ("auto", name):
            continue
        if name == "generic":
            _fits(folder, method, precision, execution)
        try:
            engine: Engine = load(folder, spec, weights, seed, precision, execution)
        except EngineRefused as reason:
            if dtype == "bfloat16":
                raise _in_float32(reason) from None
            if execution.engine == name:
                raise
            reasons.append(str(reason))
            continue
        engine.refusal = "; ".join(reasons) or None
        return engine
    _fits(folder, method, precision, execution)
    engine = load_reference(folder, spec, weights, seed, precision)
    engine.refusal = "; ".join(reasons) or None
    return engine


def prepare_machine(execution: Execution, dtype: Dtype) -> torch.dtype:
    """Set the threads; the precision as torch has it. Raises EngineRefused for a device that is not proven."""
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    if execution.device == "cuda":
        raise EngineRefused("device=cpu is wanted: no kernel of this version has been proven on a GPU", "cuda", "execution.device")
    return {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}[dtype]


def unused_device(execution: Execution) -> str:
    """What `execution.device: auto` leaves aside on this machine, in words; empty where there is nothing to say."""
    if execution.device == "auto" and torch.cuda.is_available():
        return "a GPU is present and not used: no kernel of this version has been proven on one (execution.device=cpu leaves this note out)"
    return ""


def _fits(folder: Path, method: MethodSpec | None, precision: torch.dtype, execution: Execution) -> None:
    """Before a weight is read for an engine without a memory model. Raises UserError."""
    check_least(folder, precision.itemsize, method is not None and method.kind == "full", execution)


def _in_float32(reason: EngineRefused) -> EngineRefused:
    """The fast engine's refusal; the engine that it advises has no products in bfloat16."""
    fix = f"{reason.fix} and train.precision=float32" if "execution.engine=" in reason.fix else reason.fix
    return EngineRefused(reason.must, reason.got, reason.where, fix)


def _only_decoders(folder: Path) -> None:
    kind = folder_kind(folder) if (folder / "config.json").is_file() else "decoder"
    if kind != "decoder":
        raise UserError("a decoder is wanted", f"{WORDS[kind]} ({folder.name})", fix="`luthier run` trains and evaluates it")


def _same(method: MethodSpec, stored: MethodSpec | None, adapter: Path | None) -> MethodSpec:
    """The method, when its settings are those of the stored one. The layers may be named in another way: the tensors' names are checked."""
    names = {n: getattr(method, n) for n in ("targets", "feedforward") if hasattr(method, n)}
    if type(method) is not type(stored) or replace(stored, **names) != method:  # type: ignore[type-var]
        must = "an adapter can only be trained on with its own method, rank and scale"
        raise EngineRefused(must, f"{method}, stored {stored}", str(adapter))
    return method
