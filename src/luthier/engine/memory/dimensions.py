"""The sizes of a decoder, read from `config.json` and the headers of its safetensors files alone.

One decision: no weight and no library of models is loaded; what a config leaves out is what the families of the
fast engine take for it.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from luthier.core.errors import CorruptArtifact, UserError

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "I8": 1, "BOOL": 1}
"""Bytes of one value by the name of its type in a safetensors header."""
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3")
"""What the fast engine computes, by `model_type`."""
GEMMA = ("gemma2", "gemma3_text")
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a decoder layer, in the order of computation."""
FUSED = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
"""The same where queries, keys and values are stored as one layer, and gate and up as another (Phi-3)."""


class Sizes(Protocol):
    """What the counts need of a decoder: `Dimensions`, or the fast engine's `Architecture`."""

    @property
    def vocabulary(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def windows(self) -> tuple[int | None, ...]: ...


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Sizes of a decoder and of its weights on disk. `stored_bytes`: bytes of one stored value of a linear layer.

    windows: per layer, how many tokens a token sees, None for all; empty where no layer has a window.
    """

    family: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    longest: int
    stored_bytes: int
    windows: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Own:
    """What is trained otherwise than by LoRA on the same parts of every layer.

    values: how many; first: the lowest layer that has some; formed: most values of weight gradients that are alive at once on their
    way to a smaller parameter; flops: of one row through the trained parts besides the frozen ones; merged: the trained parts are
    written into weights; replaced: values of stored weights that are not kept, because all of them are trained.
    """

    values: int
    first: int
    formed: int
    flops: float
    merged: bool
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class Trains:
    """What a step trains: LoRA of `rank` on `modules` of every layer; every weight when `rank` is None; nothing when `modules` is empty.

    own: what another method trains on some of `modules`, its rank then 0.
    """

    rank: int | None = None
    modules: tuple[str, ...] = PARTS
    own: Own | None = None

    @property
    def first(self) -> int:
        """The lowest layer of which something is trained."""
        return 0 if self.own is None else self.own.first

    @classmethod
    def lora(cls, rank: int, targets: tuple[str, ...] = ("all-linear",), family: str = "llama") -> Trains:
        """LoRA on the named layers, or on every linear layer of the decoder (`all-linear`)."""
        parts = stored_parts(family)
        return cls(rank, parts if targets == ("all-linear",) else tuple(p for p in parts if p in targets))


def shape_of(sizes: Sizes, part: str) -> tuple[int, int]:
    """(out, in) of a linear layer by its name, e.g. `q_proj`."""
    q, kv = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    return {
        "q_proj": (q, sizes.hidden),
        "k_proj": (kv, sizes.hidden),
        "v_proj": (kv, sizes.hidden),
        "o_proj": (sizes.hidden, q),
        "gate_proj": (sizes.intermediate, sizes.hidden),
        "up_proj": (sizes.intermediate, sizes.hidden),
        "down_proj": (sizes.hidden, sizes.intermediate),
        "qkv_proj": (q + 2 * kv, sizes.hidden),
        "gate_up_proj": (2 * sizes.intermediate, sizes.hidden),
    }[part]


def stored_parts(family: str) -> tuple[str, ...]:
    """The linear layers of a decoder layer as its files name them."""
    return FUSED if family == "phi3" else PARTS


def window_of(sizes: Sizes) -> int | None:
    """The window of the layers that have one."""
    return next((w for w in sizes.windows if w is not None), None)


def read_family(folder: Path) -> str:
    """The `model_type` of the model in `folder`. Raises UserError where there is none."""
    return str(_read_json(folder / "config.json").get("model_type", "unknown"))


def read_dimensions(folder: Path) -> Dimensions:
    """Read the sizes of the model in `folder`. Raises UserError where there is none, CorruptArtifact for bytes that are not a model's."""
    config = _read_json(folder / "config.json")
    headers = [_header(path) for path in weight_files(folder)]
    stored = {entry["dtype"] for header in headers for name, entry in header.items() if name.endswith("_proj.weight")}
    heads = _needed(config, "num_attention_heads", folder)
    hidden = _needed(config, "hidden_size", folder)
    family, layers = str(config.get("model_type", "unknown")), _needed(config, "num_hidden_layers", folder)
    return Dimensions(
        family=family,
        vocabulary=_needed(config, "vocab_size", folder),
        hidden=hidden,
        intermediate=_needed(config, "intermediate_size", folder),
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        tied=bool(config.get("tie_word_embeddings", family in GEMMA)),
        longest=_longest(config),
        stored_bytes=max((BYTES.get(d, 4) for d in stored), default=4),
        windows=_windows(config, family, layers),
    )


def read_num_bytes(folder: Path, value: int) -> int:
    """Bytes of all weights of the model in `folder` when floating-point ones take `value` bytes; 0 where none are stored as safetensors.

    Raises CorruptArtifact for bytes that are not a model's.
    """
    files = [path for path in weight_files(folder) if path.is_file()]
    entries = [e for path in files for name, e in _header(path).items() if name != "__metadata__"]
    return sum((value if "F" in e["dtype"] else BYTES.get(e["dtype"], 4)) * math.prod(e["shape"]) for e in entries)


def _longest(config: dict[str, Any]) -> int:
    """Positions that the model knows; under longrope, those of its short range."""
    longest = config.get("max_position_embeddings") or 2**31
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type")) in ("longrope", "su") or (config.get("model_type") == "phi3" and rope.get("type") == "yarn"):
        return min(longest, rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings") or longest)
    return longest


def _windows(config: dict[str, Any], family: str, layers: int) -> tuple[int | None, ...]:
    """As the transformers configs of the families fill in what is left out."""
    window = config.get("sliding_window", 4096 if family in (*GEMMA, "mistral") else None)
    if window is None or (family in ("qwen2", "qwen3") and not config.get("use_sliding_window")) or family not in FAMILIES[1:]:
        return ()
    kinds = config.get("layer_types") or _kinds(config, family, layers)
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _kinds(config: dict[str, Any], family: str, layers: int) -> list[str]:
    full = {
        "gemma2": [i % 2 == 1 for i in range(layers)],
        "gemma3_text": [(i + 1) % (config.get("sliding_window_pattern") or 6) == 0 for i in range(layers)],
        "qwen2": [i < config.get("max_window_layers", 28) for i in range(layers)],
        "qwen3": [i < config.get("max_window_layers", 28) for i in range(layers)],
    }.get(family, [False] * layers)
    return ["full_attention" if whole else "sliding_attention" for whole in full]


def _needed(config: dict[str, Any], name: str, folder: Path) -> int:
    if not isinstance(config.get(name), int):
        raise UserError(f"a decoder's config.json must give {name}", config.get(name), str(folder))
    return config[name]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("a model folder must hold " + path.name, str(path.parent)) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise CorruptArtifact(f"{path} cannot be read ({err}): fetch or convert the model again") from None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that a model names, which need not be there. Raises CorruptArtifact for an index that names none."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    mapped = _read_json(index).get("weight_map")
    if not isinstance(mapped, dict):
        raise CorruptArtifact(f"{index} has no weight_map: fetch or convert the model again")
    names = sorted(set(mapped.values()))
    return [folder / name for name in names]


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: name -> dtype, shape, offsets (https://github.com/huggingface/safetensors#format)."""
    if not path.is_file():
        raise UserError("a model folder must hold its weights as safetensors", f"no {path.name}", str(path.parent))
    with path.open("rb") as f:
        first = f.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(100_000_000, path.stat().st_size - 8):
            raise CorruptArtifact(f"{path} is not a safetensors file: fetch or convert the model again")
        try:
            return json.loads(f.read(length))
        except (json.JSONDecodeError, UnicodeDecodeError) as err:
            raise CorruptArtifact(f"{path} cannot be read ({err}): fetch or convert the model again") from None
