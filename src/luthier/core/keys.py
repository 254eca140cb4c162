"""Content keys: the same work has the same key on every machine; different work never shares one.

One decision: a key is sha256 over canonical JSON in which a config is its class and fields, a nested
stage is that stage's key, a file is the hash of its bytes, and anything without a canonical form
(NaN, sets, callables) raises instead of being guessed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from enum import Enum
from pathlib import Path
from typing import Any

import pydantic

from luthier.core.config import Config
from luthier.core.errors import UserError


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes, remembered in this process while size and mtime stay the same."""
    try:
        stat = path.stat()
        return _sha256_of(path, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError:
        raise UserError("the file must exist", str(path)) from None
    except IsADirectoryError:
        raise UserError("a file is wanted", f"the folder {path}") from None
    except PermissionError:
        raise UserError("the file must be readable", str(path)) from None


@functools.lru_cache(maxsize=4096)
def _sha256_of(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class SourceFile(Config):
    """A user's file as part of a config: its identity is its bytes, never its path."""

    path: str

    def identity(self) -> dict[str, Any]:
        return {"sha256": file_sha256(Path(self.path))}


def class_name(cls: type) -> str:
    """`module:Qualified.Name`, so that two classes of one file, or one name in two files, never collide."""
    return f"{cls.__module__}:{cls.__qualname__}"


def canonical(value: Any) -> Any:
    """`value` as JSON with one form for equal meanings. Raises TypeError or ValueError for what has none."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return canonical(value.value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a key cannot hold {value}")
        return int(value) if value.is_integer() else value
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    if isinstance(value, dict):
        if any(not isinstance(k, str) for k in value):
            raise TypeError(f"a key cannot hold a mapping with keys that are not text: {value!r}")
        return {k: canonical(value[k]) for k in sorted(value)}
    if isinstance(value, pydantic.BaseModel):
        return _canonical_config(value)
    raise TypeError(f"a key cannot hold a {type(value).__name__}: {value!r}")


def _canonical_config(value: pydantic.BaseModel) -> dict[str, Any]:
    nested_key = getattr(value, "key", None)
    if callable(nested_key):  # a stage: its key stands for all of it
        return {"stage": nested_key()}
    identity = getattr(value, "identity", None)
    body = identity() if callable(identity) else fields_of(value)
    return {"class": class_name(type(value)), "version": getattr(value, "version", 1), "fields": canonical(body)}


def fields_of(value: pydantic.BaseModel) -> dict[str, Any]:
    """The config's fields by name, as they are."""
    return {name: getattr(value, name) for name in type(value).model_fields}


def digest(value: Any) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
