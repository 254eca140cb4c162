"""Data files to begin from, in every format, and ways to spoil them: bytes, lines, values, columns, encodings, packings, names.

One decision: all comes from one seeded generator, so that a trial is made again from the seed and its number alone.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
MOST_BYTES = 20_000
AWKWARD = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b"\n", b"\r", b"\t"),
    *(b"{", b"}", b"[" * 50, b"]", b"," * 9, b";", b"NaN", b"1e999", b"-0", b"null", b"9" * 5000, b'{"a":' * 300, b"\x1b[2J", b" " * 3000),
    *(
        "\u202e".encode(),
        "\u2028".encode(),
        "\u0085".encode(),
        b"<|im_end|>",
        b"=cmd|' /C calc'!A0",
        b"../../x",
        b"\x1f\x8b",
        b"PK\x03\x04",
    ),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 10**40, 1.5, "", " ", "\n", "x" * 70_000, [], [[]], [None], {}, {"a": {}}, [{}], "\ud800", "\x00", "null"),
    *(
        [{"role": "user"}],
        [{"role": 3, "content": []}],
        {"role": "assistant", "content": None},
        ["a", 1, None],
        [{"from": "gpt", "value": {}}],
    ),
)
Seed = tuple[str, bytes]
"""(name, bytes)"""


def seeds() -> list[Seed]:
    """The broken corpus and the examples' files where they are there, and good files of every format and row kind."""
    shared = Path(os.environ.get("LUTHIER_SHARED", REPO.parent / "shared")) / "data"
    found = [p for p in sorted((REPO / "examples").glob("*/data/*")) if p.is_file()]
    found += [p for p in sorted((shared / "bad_inputs").rglob("*")) if p.is_file() and p.stat().st_size < 50_000]
    for folder in ("classification", "instruction", "preference"):
        found += [p for p in sorted((shared / folder).glob("*.json*")) if p.suffix != ".gz"]
    return [(p.name, _whole_lines(p)) for p in found] + list(good_files())


def _whole_lines(path: Path) -> bytes:
    with path.open("rb") as f:
        data = f.read(MOST_BYTES)
    return data[: data.rfind(b"\n") + 1] if len(data) == MOST_BYTES and b"\n" in data else data


def good_files() -> Iterator[Seed]:
    """A small good file of every row kind as JSON lines, and of one kind in every format and packing."""
    kinds: dict[str, list[dict[str, Any]]] = {
        "classification": [{"text": f"text number {i}", "label": "ab"[i % 2]} for i in range(12)],
        "chat": [{"messages": [{"role": "user", "content": f"Q{i}"}, {"role": "assistant", "content": f"A{i}"}]} for i in range(6)],
        "dpo": [{"prompt": f"P{i}", "chosen": "good", "rejected": "bad"} for i in range(6)],
        "kto": [{"prompt": f"P{i}", "completion": "c", "label": i % 2 == 0} for i in range(6)],
        "alpaca": [{"instruction": f"I{i}", "input": "", "output": f"O{i}"} for i in range(6)],
        "sharegpt": [{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": f"A{i}"}]} for i in range(6)],
        "ner": [{"tokens": ["Ada", "left"], "ner_tags": ["B-person", "O"]} for _ in range(6)],
        "text": [{"text": f"A plain text, number {i}."} for i in range(6)],
    }
    for kind, rows in kinds.items():
        yield f"{kind}.jsonl", "".join(json.dumps(r) + "\n" for r in rows).encode()
        yield f"{kind}.json", json.dumps(rows).encode()
    rows = kinds["classification"]
    lines = "".join(json.dumps(r) + "\n" for r in rows).encode()
    yield "rows.csv", ("text,label\n" + "".join(f'"{r["text"]}, ""said""",{r["label"]}\n' for r in rows)).encode()
    yield "rows.tsv", ("text\tlabel\r\n" + "".join(f"{r['text']}\t{r['label']}\r\n" for r in rows)).encode()
    yield "rows.jsonl.gz", gzip.compress(lines, mtime=0)
    yield from _packed(lines)
    yield from _columnar(kinds)


def _packed(lines: bytes) -> Iterator[Seed]:
    import zstandard

    yield "rows.jsonl.zst", zstandard.compress(lines)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as z:
        for name in ("train.jsonl", "test.jsonl", "README.md"):
            z.writestr(zipfile.ZipInfo(name), lines)
    yield "rows.zip", held.getvalue()
    for kind in ("", "gz"):
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode=f"w:{kind}") as t:
            info = tarfile.TarInfo("rows.jsonl")
            info.size = len(lines)
            t.addfile(info, io.BytesIO(lines))
        yield f"rows.tar{'.gz' * bool(kind)}", held.getvalue()


def _columnar(kinds: dict[str, list[dict[str, Any]]]) -> Iterator[Seed]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    for kind in ("classification", "chat", "ner"):
        table, held = pa.Table.from_pylist(kinds[kind]), io.BytesIO()
        parquet.write_table(table, held)
        yield f"{kind}.parquet", held.getvalue()
        held = io.BytesIO()
        with pa.ipc.new_file(held, table.schema) as writer:
            writer.write_table(table)
        yield f"{kind}.arrow", held.getvalue()


def mutant(seed: Seed, rng: random.Random) -> Seed:
    """A seed with one to three spoilings."""
    name, data = seed
    for _ in range(rng.randint(1, 3)):
        name, data = rng.choice(SPOILINGS)(name, data, rng)
    return name, data


def _bytes(name: str, data: bytes, rng: random.Random) -> Seed:
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + rng.randint(1, 200)]
        elif kind == 2:
            out[at:at] = out[at : at + rng.randint(1, 300)]
        elif kind == 3:
            out[at:at] = rng.choice(AWKWARD)
        elif rng.random() < 0.3:
            del out[at:]
    return name, bytes(out)


def _lines(name: str, data: bytes, rng: random.Random) -> Seed:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.randrange(6)
    if how == 0:
        lines[at], lines[other] = lines[other], lines[at]
    elif how == 1:
        lines[at:at] = [lines[other]] * rng.randint(1, 40)
    elif how == 2:
        lines[at:at] = [b""] * rng.randint(1, 20)
    elif how == 3:
        lines[at : at + 2] = [b" ".join(lines[at : at + 2])]
    elif how == 4:
        lines[at] = rng.choice((b"# a comment", b"[1]", b"3", b'"text"', b"null", b"text,label", b"true", lines[at] + lines[at]))
    else:
        lines[at] = lines[at][: len(lines[at]) // 2]
    return name, b"\n".join(lines)


def _values(name: str, data: bytes, rng: random.Random) -> Seed:
    """One value, key or column of a row of JSON replaced, renamed, moved or taken out."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    try:
        row = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _bytes(name, data, rng)
    if not isinstance(row, dict) or not row:
        return _lines(name, data, rng)
    key = rng.choice(list(row))
    how = rng.randrange(6)
    if how == 0:
        del row[key]
    elif how == 1:
        row[rng.choice((key.upper(), key + " ", "", "id", "label", "messages", "\u200b" + key))] = row.pop(key)
    elif how == 2:
        row[rng.choice(("id", "label", "weight", "text", "chosen", "tools"))] = rng.choice(ODD_VALUES)
    elif how == 3 and isinstance(row[key], list) and row[key]:
        row[key][rng.randrange(len(row[key]))] = rng.choice(ODD_VALUES)
    else:
        row[key] = rng.choice(ODD_VALUES)
    text = json.dumps(row)
    if rng.random() < 0.1:
        text = text[:-1] + "," + text[1:]  # every key twice
    lines[at] = text.encode()
    return name, b"\n".join(lines)


def _encoding(name: str, data: bytes, rng: random.Random) -> Seed:
    text = data.decode("utf-8", "replace")
    coded = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "cp1252", "cp037"))
    line_end = rng.choice(("\n", "\r\n", "\r"))
    return name, text.replace("\n", line_end).encode(coded, "replace")


def _packing(name: str, data: bytes, rng: random.Random) -> Seed:
    import zstandard

    packed = gzip.compress(data, mtime=0) if rng.random() < 0.5 else zstandard.compress(data)
    return rng.choice((name, f"{name}.gz", f"{name}.zst")), packed[: len(packed) if rng.random() < 0.6 else rng.randrange(len(packed))]


def _name(name: str, data: bytes, rng: random.Random) -> Seed:
    ends = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".feather", ".gz", ".zst", ".zip", ".tar", ".txt", "", ".JSONL")
    return name.split(".")[0] + rng.choice(ends), data


SPOILINGS: tuple[Callable[[str, bytes, random.Random], Seed], ...] = (
    *(_bytes, _bytes, _bytes, _lines, _lines, _values, _values, _values, _encoding, _packing, _name),
)
