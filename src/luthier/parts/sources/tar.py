"""The members of a tar stream, read block by block (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU long names).

One decision: the headers are parsed here and not by `tarfile`, because only names, sizes and the bytes of regular files are
wanted: every other kind of member (links, devices, sparse files) is refused, and no header is ever held that is not small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from luthier.core.errors import UserError

BLOCK = 512
MAX_HEADER_BYTES = 64 << 10
KINDS = {
    "1": "a hard link",
    "2": "a symbolic link",
    "3": "a character device",
    "4": "a block device",
    "6": "a named pipe",
    "S": "a sparse file",
    "M": "a file over several volumes",
}
_OWN_HEADERS = "xgLK"
_PAX = re.compile(rb"(\d{1,9}) ([^=\n]{1,200})=")


@dataclass(frozen=True, slots=True)
class Header:
    """One member: its name, its kind (`0` is a regular file, `5` a folder) and its size in bytes."""

    name: str
    kind: str
    size: int


class Blocks:
    """A cursor over decompressed chunks that takes exact numbers of bytes."""

    def __init__(self, chunks: Iterator[bytes], name: str) -> None:
        self._chunks = chunks
        self._held = b""
        self.name = name

    def pieces(self, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes, piece by piece. Raises UserError when the stream ends before."""
        while size:
            piece = self._held or next(self._chunks, None)
            if piece is None:
                raise UserError("the tar archive must be whole", "a stream that ends early", self.name, "fetch or write it again")
            self._held, piece = piece[size:], piece[:size]
            size -= len(piece)
            if piece:
                yield piece

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes at once; for headers alone."""
        return b"".join(self.pieces(size))

    def drain(self) -> None:
        """Read what is left, so that a compressed stream is checked to its end."""
        for _ in self._chunks:
            pass


def members(blocks: Blocks) -> Iterator[tuple[Header, Iterator[bytes]]]:
    """Every member with its bytes, in order; bytes that are not taken are passed over. Raises UserError for a damaged header."""
    given: dict[str, str] = {}
    while True:
        block = blocks.take(BLOCK)
        if not block.strip(b"\0"):
            blocks.drain()
            return
        header = _header(block, blocks.name)
        if header.kind in _OWN_HEADERS:
            given = {**given, **_extended(header, blocks)}
            continue
        size = _decimal(given.get("size", ""), blocks.name) if "size" in given else header.size
        if any(key.startswith("GNU.sparse") for key in given):
            header = Header(header.name, "S", 0)
        body = blocks.pieces(size)
        yield Header(given.get("path", header.name), header.kind, size), body
        for _ in body:
            pass
        blocks.take(-size % BLOCK)
        given = {}


def _header(block: bytes, name: str) -> Header:
    """A ustar or GNU header. Raises UserError when its checksum is wrong (which every damaged or made-up header's is)."""
    told = _number(block[148:156], name)
    blank = block[:148] + b" " * 8 + block[156:]
    if told not in (sum(blank), sum(b - 256 if b > 127 else b for b in blank)):
        raise UserError("each header of a tar archive must match its checksum", "a damaged header", name, "fetch or write it again")
    kind = chr(block[156]) if block[156] else "0"
    path = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        path = f"{_text(block[345:500])}/{path}"
    if kind in "07" and path.endswith("/"):
        kind = "5"  # as old tar wrote folders
    return Header(path, "0" if kind == "7" else kind, 0 if kind in "123456" else _number(block[124:136], name))


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes, name: str) -> int:
    """An octal number, or a big-endian one (GNU). Raises UserError for anything else, a negative one included."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.replace(b"\0", b" ").strip()
    if not re.fullmatch(rb"[0-7]{0,12}", digits):
        raise UserError("a number of a tar header must be octal", repr(digits[:20]), name, "fetch or write it again")
    return int(digits or b"0", 8)


def _decimal(text: str, name: str) -> int:
    if not re.fullmatch("[0-9]{1,19}", text):
        raise UserError("a size in a tar header must be a number", repr(text[:20]), name, "fetch or write it again")
    return int(text)


def _extended(header: Header, blocks: Blocks) -> dict[str, str]:
    """What a pax or GNU header says of the member that follows. Raises UserError for one that is large, damaged or for all members."""
    if header.size > MAX_HEADER_BYTES:
        raise UserError(
            f"a header of a tar archive must have at most {MAX_HEADER_BYTES:,} bytes", f"{header.size:,} bytes", blocks.name, _REFUSED
        )
    body = blocks.take(header.size)
    blocks.take(-header.size % BLOCK)
    if header.kind in "LK":
        return {"path" if header.kind == "L" else "linkpath": _text(body)}
    fields = _pax_fields(body, blocks.name)
    if header.kind == "g":
        if {"path", "size"} & fields.keys():
            raise UserError("a tar archive must not name all its members alike", "a global `path` or `size`", blocks.name, _REFUSED)
        return {}
    return fields


_REFUSED = "nothing of it was kept"


def _pax_fields(body: bytes, name: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    at = 0
    while at < len(body):
        match = _PAX.match(body, at)
        end = at + int(match.group(1)) if match else 0
        if match is None or not match.end() < end <= len(body) or body[end - 1 : end] != b"\n":
            raise UserError("a pax header must be a list of fields", "a damaged one", name, "fetch or write it again")
        fields[match.group(2).decode("utf-8", "surrogateescape")] = body[match.end() : end - 1].decode("utf-8", "surrogateescape")
        at = end
    return fields
