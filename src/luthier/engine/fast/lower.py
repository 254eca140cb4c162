"""What enters the lowest trained layer, kept on disk from one epoch to the next: frozen layers give the same rows each time.

One decision: each sequence is computed alone, so what is kept is a function of its tokens and of the weights, whatever it is
packed with; a run with a lost, torn or empty folder ends with the same bytes as one with a full one.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from luthier.core.files import make_folder, write_bytes
from luthier.engine.contract import Keeping, TokenSequence
from luthier.engine.fast.decoder import Decoder
from luthier.engine.trees.pack import Pack, build_full_pack

FORMAT = 1
WORTH = 0.8
"""Largest share of the work below the trained layers that computing each row once may take."""
_HEAD = struct.Struct("<I")
"""A file is the CRC-32 of its rows, then the rows."""


class LowerRows:
    """Rows of sequences at the lowest trained layer, from `folder` where they are there and sound."""

    def __init__(self, decoder: Decoder, folder: Path, weights: str) -> None:
        """weights: the hash of the model's weights."""
        self._decoder, self._folder = decoder, folder
        made_by = f"{FORMAT} {weights} {decoder.lowest_trainable} {decoder.dtype}"
        self._salt = hashlib.sha256(made_by.encode()).digest()
        make_folder(folder)

    def of_pack(self, pack: Pack) -> torch.Tensor:
        """[T, hidden] of the pack's rows."""
        out = torch.empty(pack.num_rows, self._decoder.arch.hidden, dtype=self._decoder.dtype)
        for member, end in enumerate(pack.ends.tolist()):
            rows = pack.rows_of(member, np.arange(int(pack.positions[end]) + 1))
            out[torch.from_numpy(rows)] = self.of_tokens(pack.tokens[rows])
        return out

    def of_tokens(self, tokens: np.ndarray) -> torch.Tensor:
        """[N, hidden] of one sequence. tokens: int64 [N]."""
        path = self._folder / hashlib.sha256(self._salt + tokens.astype("<i8").tobytes()).hexdigest()
        found = self._read(path, len(tokens))
        if found is None:
            found = self._decoder.below(build_full_pack([tokens], [0]))
            rows = found.numpy().tobytes()
            write_bytes(path, _HEAD.pack(zlib.crc32(rows)) + rows)
        return found

    def _read(self, path: Path, num_tokens: int) -> torch.Tensor | None:
        """The rows of a file; None where there is none or it is damaged, so that it is written anew."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        rows, dtype = data[_HEAD.size :], self._decoder.dtype
        if len(rows) != num_tokens * self._decoder.arch.hidden * dtype.itemsize or _HEAD.pack(zlib.crc32(rows)) != data[: _HEAD.size]:
            return None
        return torch.frombuffer(bytearray(rows), dtype=dtype).view(num_tokens, -1)


def why_not(decoder: Decoder, keeping: Keeping, sequences: Sequence[TokenSequence], unique: int) -> str:
    """Why nothing is kept, in words; empty where it pays. unique: tokens that the run would compute below the trained layers."""
    if keeping.limit_bytes == 0:
        return "execution.cache_gb is 0"
    if keeping.noise.dropout or keeping.noise.embedding:
        return "dropout or embedding noise below the trained layers gives other rows each time"
    once = sum(len(s.tokens) for s in sequences)
    if once > WORTH * unique:
        return f"each row once is {once:,} tokens, and the whole run computes {unique:,}"
    needed = once * decoder.arch.hidden * decoder.dtype.itemsize
    if needed > keeping.limit_bytes:
        return f"{needed / 2**30:.2f} GB are needed, execution.cache_gb allows {keeping.limit_bytes / 2**30:g}"
    return ""
