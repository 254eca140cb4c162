"""Weights files judged before anything loads them: a safetensors header is checked by hand, a pickle is never opened.

One decision: a file is refused for anything its header leaves open (holes, overlaps, unknown types, a length
that does not match), because every loader fills such gaps in its own way.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

from luthier.core.errors import UserError, from_os_error

# bytes an element takes; the names are those of the safetensors format
DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
MAX_HEADER_BYTES = 100_000_000
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
# where an exponent of all ones (inf or NaN) shows: element type, mask
_EXPONENT = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000), "F32": ("<u4", 0x7F80_0000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("<u1", 0x7C), "F8_E4M3": ("<u1", 0x7F),
}  # fmt: skip
_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file. `where` names the file and, if it is one tensor's fault, the tensor."""

    verdict: Literal["reject", "warn"]
    reason: str
    where: str


@dataclass(frozen=True, slots=True)
class TensorSpan:
    """One tensor of a safetensors file; `start` and `end` are byte offsets in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def check_weights_file(path: Path) -> list[Finding]:
    """Everything wrong with one weights file; an empty list means that it is safe to load.

    A pickle (by suffix or by its first bytes) is rejected without being read further. In a safetensors file the
    header, the sizes and every weight (NaN, infinity) are checked.
    """
    try:
        with path.open("rb") as f:
            start = f.read(16)
        if path.suffix.lower() in PICKLE_SUFFIXES or _looks_like_pickle(start):
            reason = "a pickle can run any program when it is loaded: only safetensors files are read"
            return [Finding("reject", reason, str(path))]
        try:
            spans = read_header(path)
        except UserError as err:
            return [Finding("reject", f"{err.must}, got {err.got}" if err.got is not None else err.must, err.where)]
        return non_finite(path, spans)
    except OSError as err:
        raise from_os_error(err, "reading the weights file") from None


def _looks_like_pickle(start: bytes) -> bool:
    """A pickle of protocol 2 to 5, or a zip archive (what torch.save writes)."""
    return start[:4] == b"PK\x03\x04" or (len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5)


def read_header(path: Path) -> list[TensorSpan]:
    """The tensors of a safetensors file in file order. Raises UserError on a truncated, empty or absurd header."""
    size, where = path.stat().st_size, str(path)
    if size < 8:
        raise UserError("a safetensors file must hold at least its 8-byte header length", f"{size} bytes", where)
    with path.open("rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        if length > MAX_HEADER_BYTES or length + 8 > size:
            limit = f"at most {min(MAX_HEADER_BYTES, size - 8)} bytes for the header of this file"
            raise UserError(f"a safetensors header must fit in its file ({limit})", f"{length} bytes: cut off or not safetensors", where)
        raw = f.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as err:
        raise UserError("a safetensors header must be JSON with each name once", str(err)[:120], where) from None
    if not isinstance(header, dict):
        raise UserError("a safetensors header must be a JSON object", type(header).__name__, where)
    spans = [_span(name, entry, 8 + length, where) for name, entry in header.items() if name != "__metadata__"]
    spans.sort(key=lambda s: (s.start, s.end))
    _check_layout(spans, 8 + length, size, where)
    return spans


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name is given twice")
    return out


def _span(name: str, entry: Any, base: int, where: str) -> TensorSpan:
    """One checked header entry."""
    at = f"{where}, tensor {name!r}"
    if not isinstance(entry, dict) or entry.get("dtype") not in DTYPE_BYTES:
        got = entry.get("dtype") if isinstance(entry, dict) else type(entry).__name__
        raise UserError(f"a tensor's dtype must be one of {', '.join(DTYPE_BYTES)}", repr(got), at)
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise UserError("a tensor's shape and its two data_offsets must be whole numbers from 0", f"{shape!r}, {offsets!r}", at)
    wanted = math.prod(shape) * DTYPE_BYTES[entry["dtype"]]
    if offsets[1] - offsets[0] != wanted:
        raise UserError(f"shape {shape} in {entry['dtype']} takes {wanted} bytes", f"data_offsets {offsets}", at)
    return TensorSpan(name, entry["dtype"], tuple(shape), base + offsets[0], base + offsets[1])


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _check_layout(spans: list[TensorSpan], base: int, size: int, where: str) -> None:
    """The tensors must fill the file from the header's end to the last byte, without holes or overlaps."""
    if not spans:
        raise UserError("a safetensors file must hold at least one tensor", "none", where)
    here = base
    for span in spans:
        if span.start != here:
            raise UserError(
                "tensors must follow each other without holes or overlaps", f"a break at byte {here}", f"{where}, tensor {span.name!r}"
            )
        here = span.end
    if here != size:
        what = "cut off" if here > size else "bytes left over"
        raise UserError(f"the header announces {here} bytes", f"{size} bytes: {what}", where)


def non_finite(path: Path, spans: list[TensorSpan]) -> list[Finding]:
    """One finding for each tensor that holds NaN or infinity, with how many."""
    import numpy as np

    found = []
    with path.open("rb") as f:
        for span in spans:
            if span.dtype not in _EXPONENT:
                continue
            dtype, mask = _EXPONENT[span.dtype]
            f.seek(span.start)
            bad, left = 0, span.end - span.start
            while left:
                words = np.frombuffer(f.read(min(left, _CHUNK)), dtype)
                if not words.size:
                    raise UserError("the file must not change while it is read", where=str(path))
                bad += int(np.count_nonzero((words & np.asarray(mask, dtype)) == mask))
                left -= words.nbytes
            if bad:
                total = math.prod(span.shape)
                found.append(Finding("reject", f"{bad} of {total} weights are NaN or infinite", f"{path}, tensor {span.name!r}"))
    return found
