"""What a file is, from its first bytes and its name.

One decision: content decides and the name is only a claim; where they differ the reading is announced as a
change, and content that is not rows at all (an archive, a picture, a pickle) is refused by name.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from luthier.core.errors import UserError
from luthier.parts.sources.strict_json import BadJson, parse_json

COMPRESSIONS = {"gz": "gzip", "zst": "zstd"}
EXTENSIONS = {
    "csv": "csv",
    "tsv": "tsv",
    "json": "json",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
    "txt": "text",
    "md": "text",
}
NAMES = {
    "csv": "CSV",
    "tsv": "TSV",
    "json": "a JSON array",
    "jsonl": "JSON lines",
    "parquet": "parquet",
    "arrow": "Arrow",
    "text": "plain text",
}
_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"GGUF", "a GGUF model"),
    (b"RIFF", "audio or video"),
)
_ARCHIVES = ((b"7z\xbc\xaf", "a 7z archive"), (b"\xfd7zXZ", "an xz file"), (b"BZh", "a bzip2 file"), (b"Rar!", "a rar archive"))
_BOMS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a name says: `format` and `compression`, each "" when it says nothing."""

    format: str
    compression: str


def claim_of(name: str) -> Claim:
    """Read `rows.jsonl.gz` as (jsonl, gz)."""
    parts = name.lower().split(".")
    compression = parts.pop() if len(parts) > 1 and parts[-1] in COMPRESSIONS else ""
    return Claim(EXTENSIONS.get(parts[-1], "") if len(parts) > 1 else "", compression)


def compression_of(head: bytes) -> str:
    """`gz`, `zst` or "" from the first bytes."""
    if head.startswith(b"\x1f\x8b"):
        return "gz"
    return "zst" if head.startswith(b"\x28\xb5\x2f\xfd") else ""


def binary_format_of(head: bytes) -> str:
    """`parquet`, `arrow` or "" from the first bytes."""
    if head.startswith(b"PAR1"):
        return "parquet"
    return "arrow" if head.startswith(b"ARROW1") else ""


def refuse_what_is_not_rows(head: bytes, name: str) -> None:
    """Raise UserError for content that holds no rows: a pickle, a picture, an archive, random bytes."""
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        raise UserError("rows of data are wanted", "an unsafe pickle: loading it can run any code, so it was not loaded", name)
    for magic, what in _ARCHIVES:
        if head.startswith(magic):
            raise UserError("a data file is wanted", f"{what}", name, "unpack it and name the files in it")
    if head[257:262] == b"ustar":
        raise UserError("a data file is wanted", "a tar archive", name, "unpack it and name the files in it")
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise UserError("the file must hold text rows", f"{what}: it is not text and not JSON lines", name)
    if encoding_of(head) == "binary":
        halves = sorted((head[::2].count(0), head[1::2].count(0)))
        if halves[0] < 0.1 * len(head) and halves[1] > 0.4 * len(head):
            raise UserError(
                "the text must be UTF-8, or UTF-16 with a BOM", "what looks like UTF-16 without a BOM", name, "save it as UTF-8"
            )
        raise UserError("the file must hold text rows", "binary data: it is not text and not JSON lines", name)


def encoding_of(head: bytes) -> str:
    """`utf-8`, `utf-8-bom`, `utf-16`, `utf-32` (by their BOM), or `binary`."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-bom"
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(head)
    except UnicodeDecodeError:
        return "binary" if len(_CONTROL.findall(head)) > 0.05 * len(head) else "utf-8"
    return "binary" if head.count(0) > 0.2 * len(head) else "utf-8"


def has_old_line_ends(head: bytes) -> bool:
    """True when the text has CR and no LF at all (old Mac line ends)."""
    return b"\r" in head and b"\n" not in head


def text_format_of(head: bytes, claim: str, name: str) -> str:
    """The text format: `json` (array), `objects` (spread over lines), `manifest`, or the line formats by name."""
    text = head.decode("utf-8", errors="surrogateescape").lstrip(" \t\r\n")
    if claim == "text" and not _begins_with_objects(text):
        return claim
    if claim in ("csv", "tsv") and not text.startswith("{"):
        return claim
    if text.startswith("["):
        inner = text[1:].lstrip(" \t\r\n")
        if claim == "json" or inner.startswith("{"):
            return "json"
        return "jsonl" if claim else "json"
    if text.startswith("{"):
        return _object_format(text, claim, len(head))
    if not claim:
        raise UserError("the format must be recognised", "text that starts with neither `{` nor `[`", name, _known_names())
    return "jsonl" if claim in ("parquet", "arrow") else claim


def _begins_with_objects(text: str) -> bool:
    """True for rows in JSON, which a text about JSON or a Markdown link is not."""
    if text.startswith("["):
        return text[1:].lstrip(" \t\r\n").startswith("{")
    end = _end_of_object(text) if text.startswith("{") else None
    return end is not None and _parses(text[:end])


def _known_names() -> str:
    return "name the file ." + ", .".join(e for e in EXTENSIONS if e != "ndjson") + " (.gz and .zst may follow)"


def _object_format(text: str, claim: str, length: int) -> str:
    first_line = text.partition("\n")[0]
    if claim in ("csv", "tsv"):
        return "jsonl" if _parses(first_line) else claim
    if _parses(first_line):
        return _manifest_or(first_line, text, "jsonl")
    end = _end_of_object(text)
    if end is None:
        return "objects" if length > len(first_line) and _looks_spread(first_line) else "jsonl"
    if "\n" not in text[:end]:
        return "jsonl"
    return _manifest_or(text[:end], text[end:], "objects")


def _looks_spread(first_line: str) -> bool:
    return first_line.strip() in ("{", "{[") or first_line.rstrip().endswith((",", "{", "["))


def _manifest_or(first: str, text: str, otherwise: str) -> str:
    try:
        value = parse_json(first)
    except BadJson:
        return otherwise
    rest = text[len(first) :] if text.startswith(first) else text
    files = value.get("files") if isinstance(value, dict) else None
    is_manifest = not rest.strip() and isinstance(files, list) and all(isinstance(f, str) for f in files)
    return "manifest" if is_manifest and len(value) == 1 else otherwise


def _parses(line: str) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except BadJson:
        return False


_STRING_OR_BRACE = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|[{}"]')


def _end_of_object(text: str) -> int | None:
    """Where the first object ends, or None: it does not, or a string in it is broken over lines."""
    depth = 0
    for match in _STRING_OR_BRACE.finditer(text):
        token = match.group()
        if token == '"':
            return None
        depth += 1 if token == "{" else -1 if token == "}" else 0
        if depth == 0:
            return match.end()
    return None
