"""One data file opened for reading: what it is, what was noticed on the way, and its rows.

One decision: a format's reader is the module `read_<format>` beside this one, found by its name, so a new
format is one new file and no list to edit.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from luthier.core.errors import UserError, from_os_error, nearest
from luthier.parts.sources import archive, detect, streams
from luthier.parts.sources.mapping import Mapping
from luthier.parts.sources.mapping_instruct import PlainText
from luthier.parts.sources.rows import WHOLE_FILE, Change, Item, Limits, Meter


@dataclass(slots=True)
class Source:
    """What a reader is given. `chunks` is UTF-8 text (binary formats use `path`); `plain` says what a row of plain text is."""

    path: Path
    name: str
    chunks: Iterator[bytes]
    limits: Limits
    meter: Meter
    plain: PlainText


@dataclass(slots=True)
class Opened:
    """An open file. `format` is for people (`jsonl.gz`); `items` is read once, in file order."""

    name: str
    format: str
    items: Iterator[Item]
    meter: Meter
    changes: list[Change] = field(default_factory=list)


def open_rows(path: Path, limits: Limits | None = None, mapping: Mapping | None = None) -> Opened:
    """Open a data file of any known format. mapping: what a row of plain text is; without one, the whole file.

    Raises UserError when it is missing, a folder, empty, or not rows, and for plain text under a mapping of columns; `items`
    raises it for a stream that turns out to be cut or damaged. Nothing is ever loaded that could run code.
    """
    limits = limits or Limits()
    size = _existing_file(path)
    name, meter = path.name, Meter(size)
    try:
        head, chunks = streams.peek(streams.file_chunks(path, meter))
    except OSError as err:
        raise from_os_error(err, "reading") from None
    claim = detect.claim_of(name)
    compression = detect.compression_of(head)
    changes: list[Change] = []
    if compression != claim.compression:
        _announce_compression(compression, claim.compression, name, changes)
    if compression:
        head, chunks = streams.peek(streams.decompress(chunks, compression, name, limits))
    if not head:
        raise UserError("the file must hold rows", f"an empty file, no rows ({size:,} bytes)", name)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        archive.refuse_zip(path, name, compressed=bool(compression))
    binary = detect.binary_format_of(head)
    if binary:
        if compression:
            raise UserError(
                f"a {binary} file must not be compressed again", f"{detect.COMPRESSIONS[compression]}", name, "decompress it first"
            )
        found = binary
    else:
        found, chunks = _open_text(head, chunks, claim.format, name, changes)
    _announce_format(found, claim.format, changes)
    source = Source(path, name, chunks, limits, meter, _plain(mapping) if found == "text" else PlainText())
    items = importlib.import_module(f"luthier.parts.sources.read_{found}").read(source)
    shown = "json" if found == "objects" else found
    return Opened(name, f"{shown}.{compression}" if compression else shown, items, meter, changes)


def _plain(mapping: Mapping | None) -> PlainText:
    """How plain text is cut into rows. Raises UserError for a mapping that asks for columns, which it has not."""
    if mapping is None or isinstance(mapping, PlainText):
        return mapping or PlainText()
    fix = "use it with `task: pretrain` and `mapping: {kind: text}`, or give rows with columns (CSV, JSON lines, ...)"
    raise UserError("a plain text file has no columns: it is raw text", f"a mapping of kind {mapping.kind}", fix=fix)


def _existing_file(path: Path) -> int:
    """Size in bytes. Raises UserError naming the path, and the nearest name beside it when it is missing."""
    try:
        if path.is_dir():
            raise UserError("a data file is wanted", f"{path}, which is a folder", fix="name the file in it")
        if not path.is_file():
            beside = {p.name.split(".")[0]: p.name for p in path.parent.iterdir() if p.is_file()} if path.parent.is_dir() else {}
            close = nearest(path.name.split(".")[0], beside)
            raise UserError("the file must exist", str(path), fix=f"did you mean `{beside[close[0]]}`?" if close else "")
        return path.stat().st_size
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        if isinstance(err, UserError):
            raise
        raise UserError("the path must be readable", f"{str(path)!r}: {getattr(err, 'strerror', None) or err}") from None


def _announce_compression(found: str, claimed: str, name: str, changes: list[Change]) -> None:
    if not found:
        raise UserError(
            f"a .{claimed} file must be {detect.COMPRESSIONS[claimed]}",
            "other content",
            name,
            f"write it again, or name it without .{claimed}",
        )
    said = f".{claimed}" if claimed else "uncompressed"
    changes.append(Change(WHOLE_FILE, f"the name says {said}, but the content is {detect.COMPRESSIONS[found]}: it was decompressed"))


def _announce_format(found: str, claimed: str, changes: list[Change]) -> None:
    if claimed and found not in (claimed, "manifest"):
        what = "objects spread over several lines (not one object a line)" if found == "objects" else detect.NAMES[found]
        said = f"the name says {detect.NAMES[claimed]}, but this is not {claimed}: it holds {what} and was read so"
        changes.append(Change(WHOLE_FILE, said))


def _open_text(head: bytes, chunks: Iterator[bytes], claim: str, name: str, changes: list[Change]) -> tuple[str, Iterator[bytes]]:
    """(format, chunks as UTF-8 with LF or CR LF line ends)."""
    detect.refuse_what_is_not_rows(head, name)
    if claim in ("parquet", "arrow") and head.lstrip()[:1] not in (b"{", b"["):
        raise UserError(f"a .{claim} file must be {claim}", f"other content: not {claim}", name)
    encoding = detect.encoding_of(head)
    if encoding == "utf-8-bom":
        chunks = streams.drop_bytes(chunks, 3)
        changes.append(Change(WHOLE_FILE, "BOM removed: the file begins with a UTF-8 byte order mark"))
    elif encoding != "utf-8":
        chunks = streams.to_utf8(chunks, encoding, name)
        changes.append(Change(WHOLE_FILE, f"the text is {encoding.upper()} with a BOM: it was recoded as UTF-8"))
    head, chunks = streams.peek(chunks)
    if not head.strip(b" \t\r\n"):
        raise UserError("the file must hold rows", "blank lines only, no rows", name)
    if detect.has_old_line_ends(head):
        chunks = streams.cr_to_lf(chunks)
        head, chunks = streams.peek(chunks)
        changes.append(Change(WHOLE_FILE, "the line ends are CR (old Mac) and were read as LF"))
    return detect.text_format_of(head, claim, name), chunks
