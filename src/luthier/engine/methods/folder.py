"""Adapter folders: written in PEFT's form, read back as a method's spec and its tensors.

One decision: whose folder it is follows from its config alone. Every method of this folder is asked in turn, so a new
method needs a file here and nothing else. Weights are safetensors with a checked header; a pickle is never opened.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from luthier.core.errors import CorruptArtifact, EngineRefused, UserError
from luthier.core.files import fsync_tree, write_bytes
from luthier.engine.methods.contract import MethodSpec
from luthier.engine.models.safety import PICKLE_SUFFIXES, non_finite, read_header

WEIGHTS, CONFIG, OWN = "adapter_model.safetensors", "adapter_config.json", "luthier_method.json"
"""OWN: what a method must know besides PEFT's config, e.g. how QLoRA stores its base."""


def write_folder(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], own: Mapping[str, Any] | None = None
) -> None:
    """Write an adapter folder, fsynced; the weights' bytes depend on the weights alone."""
    folder.mkdir(parents=True, exist_ok=True)
    body = save({k: weights[k].detach().contiguous() for k in sorted(weights)}, {"format": "pt"})
    write_bytes(folder / WEIGHTS, body)  # not save_file: it turns a full disk into an error of its own
    documents = {CONFIG: config} if own is None else {CONFIG: config, OWN: own}
    for name, document in documents.items():
        write_bytes(folder / name, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode())
    fsync_tree(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json, with the fields of OWN under `luthier`, after the weights file has been checked.

    Raises UserError for a pickle, a hostile header or weights that are not finite, CorruptArtifact for a config that cannot be read.
    """
    if not (folder / CONFIG).is_file():
        raise UserError(f"an adapter folder must hold {CONFIG}", "none", str(folder))
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICKLE_SUFFIXES)
        if pickles:
            must = "an adapter's weights must be safetensors: a pickle can run any program when it is loaded"
            raise UserError(must, pickles[0], str(folder))
        raise UserError(f"an adapter folder must hold {WEIGHTS}", "none", str(folder))
    faults = non_finite(folder / WEIGHTS, read_header(folder / WEIGHTS))
    if faults:
        raise UserError(f"weights must be finite numbers: {faults[0].reason}", where=faults[0].where)
    config = _json(folder / CONFIG)
    if not config.get("peft_type"):
        raise UserError(f"{CONFIG} must name its method (`peft_type`)", "nothing", str(folder))
    return config | ({"luthier": _json(folder / OWN)} if (folder / OWN).is_file() else {})


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise CorruptArtifact(f"{path} cannot be read ({err}): train or copy the adapter again") from None
    if not isinstance(document, dict):
        raise UserError(f"{path.name} must be a JSON object", type(document).__name__, str(path.parent))
    return document


def read_adapter(folder: Path) -> tuple[MethodSpec, dict[str, torch.Tensor]]:
    """The method of an adapter folder and its tensors by saved name.

    Raises UserError or CorruptArtifact for what cannot be read, EngineRefused for a method that is not Luthier's.
    """
    config = read_config(folder)
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as err:
        raise CorruptArtifact(f"the adapter {folder} cannot be read ({err}): train or copy it again") from None
    for method in known_methods():
        try:
            spec = method.from_config(config, weights)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError) as err:
            raise UserError(
                f"{CONFIG} must be that of a {config['peft_type']} adapter", f"{type(err).__name__}: {err}", str(folder)
            ) from None
        if spec is not None:
            return spec, weights
    kinds = ", ".join(sorted(m.kind for m in known_methods()))
    raise EngineRefused("the adapter's method must be one of Luthier's", config["peft_type"], str(folder), f"known: {kinds}")


@functools.cache
def known_methods() -> tuple[type[MethodSpec], ...]:
    """Every method of this folder: the classes with `kind` and `install`, by kind."""
    package = importlib.import_module("luthier.engine.methods")
    found: dict[str, type[MethodSpec]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        own: list[Any] = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if cls.__module__ == module.__name__]
        found.update({cls.kind: cls for cls in own if isinstance(getattr(cls, "kind", None), str) and hasattr(cls, "install")})
    return tuple(found[kind] for kind in sorted(found))
