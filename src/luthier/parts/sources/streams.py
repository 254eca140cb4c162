"""From a file on disk to chunks of UTF-8 bytes and to physical lines, in bounded memory.

One decision: every step is a generator over byte chunks, so plain, gzip and zstd files, UTF-16 text and
old line ends all reach the readers in one form, and no step holds more than one chunk or one row.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.core.errors import MachineError, UserError
from luthier.parts.sources.rows import Limits, Meter

CHUNK = 1 << 16
_PIECE = 1 << 10  # bytes of zstd input at a time: bounds what one call can expand to


def file_chunks(path: Path, meter: Meter) -> Iterator[bytes]:
    """The bytes of a file, chunk by chunk."""
    with path.open("rb") as f:
        while chunk := f.read(CHUNK):
            meter.done += len(chunk)
            yield chunk


def peek(chunks: Iterator[bytes], size: int = CHUNK) -> tuple[bytes, Iterator[bytes]]:
    """The first `size` bytes (fewer at the end of the file), and the chunks with nothing consumed."""
    taken: list[bytes] = []
    length = 0
    while length < size and (chunk := next(chunks, None)) is not None:
        taken.append(chunk)
        length += len(chunk)
    head = b"".join(taken)

    def whole() -> Iterator[bytes]:
        if head:
            yield head
        yield from chunks

    return head[:size], whole()


def decompress(chunks: Iterator[bytes], kind: str, name: str, limits: Limits) -> Iterator[bytes]:
    """Decompress `gz` or `zst`. Raises UserError when the stream is cut, damaged, or expands beyond all reason."""
    read = written = 0

    def counted() -> Iterator[bytes]:
        nonlocal read
        for chunk in chunks:
            read += len(chunk)
            yield chunk

    for out in gunzip(counted(), name) if kind == "gz" else unzstd(counted(), name):
        written += len(out)
        if written > limits.ratio_from and written > limits.max_ratio * max(read, 1):
            raise UserError(
                f"a compressed file must not expand more than {limits.max_ratio} times", f"{written:,} bytes from {read:,}", name
            )
        yield out


def gunzip(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Decompress gzip, several members allowed (RFC 1952)."""
    engine, written, begun = zlib.decompressobj(wbits=31), 0, False
    for chunk in chunks:
        data = chunk
        while data:
            if engine.eof:
                data = data.lstrip(b"\0")
                if not data:
                    break
                engine, begun = zlib.decompressobj(wbits=31), False
            try:
                out = engine.decompress(data, 1 << 20)
            except zlib.error as err:
                raise UserError(f"the gzip data are damaged: {_plain(err)}", f"after {written:,} bytes of content", name) from None
            begun = True
            written += len(out)
            yield out
            data = engine.unused_data if engine.eof else engine.unconsumed_tail
    while begun and not engine.eof and (out := engine.decompress(b"", 1 << 20)):  # what the output limit held back
        written += len(out)
        yield out
    if begun and not engine.eof:
        raise UserError(
            "the gzip ends early: the file is truncated", f"{written:,} bytes of content", name, "fetch or write the file again"
        )


def _plain(err: Exception) -> str:
    return str(err).split(":")[-1].strip()


def unzstd(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Decompress zstd, several frames allowed (RFC 8878)."""
    zstandard = _zstandard()
    engine, written, begun = zstandard.ZstdDecompressor().decompressobj(), 0, False
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE):
            data = chunk[start : start + _PIECE]
            while data:
                if engine.eof:
                    engine = zstandard.ZstdDecompressor().decompressobj()
                try:
                    out = engine.decompress(data)
                except zstandard.ZstdError as err:
                    raise UserError(f"the zstd data are damaged: {_plain(err)}", f"after {written:,} bytes of content", name) from None
                begun = True
                written += len(out)
                yield out
                data = engine.unused_data if engine.eof else b""
    if begun and not engine.eof:
        raise UserError(
            "the zstd ends early: the file is truncated", f"{written:,} bytes of content", name, "fetch or write the file again"
        )


def _zstandard():
    try:
        import zstandard
    except ImportError:
        raise MachineError("reading .zst files needs zstandard: pip install 'luthier[data]'") from None
    return zstandard


def to_utf8(chunks: Iterable[bytes], encoding: str, name: str) -> Iterator[bytes]:
    """Recode `utf-16` or `utf-32` text (its BOM included) as UTF-8 without BOM."""
    decoder, done = codecs.getincrementaldecoder(encoding)("strict"), 0
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
            done += len(chunk)
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as err:
        raise UserError(f"the text must be valid {encoding.upper()}: {str(err).split(': ')[-1]}", f"near byte {done:,}", name) from None


def drop_bytes(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The chunks without their first `count` bytes (a BOM)."""
    for chunk in chunks:
        yield chunk[count:]
        count = max(0, count - len(chunk))


def cr_to_lf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Old Mac line ends (CR, and CR LF) as LF."""
    ended_with_cr = False
    for chunk in chunks:
        if not chunk:
            continue
        data = chunk[1:] if ended_with_cr and chunk.startswith(b"\n") else chunk
        ended_with_cr = chunk.endswith(b"\r")
        yield data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@dataclass(frozen=True, slots=True)
class Line:
    """One physical line without its LF. `data` is None when the line is longer than the limit."""

    number: int
    offset: int
    length: int
    data: bytes | None


def lines(chunks: Iterable[bytes], max_bytes: int) -> Iterator[Line]:
    """Split at LF only (never at U+2028 and the like). A line over `max_bytes` is counted, not held."""
    number, offset, length = 1, 0, 0
    held: list[bytes] = []
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            length += len(end)
            held.append(end)
            yield Line(number, offset, length, b"".join(held) if length <= max_bytes else None)
            number, offset, length, held = number + 1, offset + length + 1, 0, []
        length += len(rest)
        if length <= max_bytes:
            held.append(rest)
        else:
            held.clear()
    if length:
        yield Line(number, offset, length, b"".join(held) if length <= max_bytes else None)
