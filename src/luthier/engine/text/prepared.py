"""Prepared rows on disk: token ids, target weights and offsets of one split, in one safetensors file with the rows' keys.

One decision: rows are stored end to end without padding; reading gives views into three flat arrays, so opening a
split copies nothing and a row costs nothing until it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.files import write_bytes
from luthier.engine.contract import TokenSequence


@dataclass(frozen=True, slots=True, eq=False)
class PreparedSplit:
    """The sequences of one split and the key of each (`<key>#2` is the second piece of a row that was split)."""

    sequences: tuple[TokenSequence, ...]
    keys: tuple[str, ...]


def write_prepared(folder: Path, split: str, rows: Sequence[tuple[str, TokenSequence]]) -> None:
    """Write `<split>.safetensors` (tokens int32 [T], weights float32 [T], offsets int64 [n + 1]) and `<split>.keys.json`."""
    from safetensors.numpy import save

    for key, row in rows:
        assert row.tokens.shape == row.weights.shape, key
        assert len(row.tokens) > 0, key
        assert row.weights[0] == 0, key
    lengths = np.array([len(row.tokens) for _, row in rows], dtype=np.int64)
    arrays = {
        "tokens": np.concatenate([row.tokens.astype(np.int32) for _, row in rows]) if rows else np.zeros(0, np.int32),
        "weights": np.concatenate([row.weights.astype(np.float32) for _, row in rows]) if rows else np.zeros(0, np.float32),
        "offsets": np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
    }
    write_bytes(folder / f"{split}.safetensors", save(arrays))  # not save_file: it turns a full disk into an error of its own
    write_bytes(folder / f"{split}.keys.json", (json.dumps([key for key, _ in rows]) + "\n").encode())


def read_prepared(folder: Path, split: str) -> PreparedSplit:
    """Read what `write_prepared` wrote. Raises UserError for a split that was not prepared, CorruptArtifact for bad bytes."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / f"{split}.safetensors"
    if not path.exists():
        have = ", ".join(sorted(p.stem for p in folder.glob("*.safetensors"))) or "none"
        raise UserError(f"the split `{split}` must have been prepared", f"prepared: {have}", str(folder))
    try:
        arrays = load_file(str(path))
        keys = json.loads((folder / f"{split}.keys.json").read_text(encoding="utf-8"))
        tokens, weights, offsets = arrays["tokens"], arrays["weights"], arrays["offsets"]
    except (SafetensorError, OSError, ValueError, KeyError) as err:
        raise CorruptArtifact(f"{path} cannot be read ({err}); rebuild it with the same command") from None
    whole = len(offsets) == len(keys) + 1 and offsets[0] == 0 and offsets[-1] == len(tokens) == len(weights)
    if not whole or (np.diff(offsets) <= 0).any() or weights[offsets[:-1]].any():
        raise CorruptArtifact(f"{path}: offsets, tokens, weights and keys do not fit together; rebuild it with the same command")
    rows = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return PreparedSplit(tuple(TokenSequence(tokens[a:b], weights[a:b]) for a, b in rows), tuple(keys))
