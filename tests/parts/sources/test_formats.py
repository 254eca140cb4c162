"""Every format: what is read, with which places, and what is set aside, changed or refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.core.errors import MachineError, UserError
from luthier.parts.sources.rows import Limits
from luthier.parts.sources.source import open_rows

ROWS = [{"text": "one", "label": "a"}, {"text": 'two, "quoted"\nand broken', "label": "b"}, {"text": "日本 \u2028 é", "label": "a"}]
JSONL = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in ROWS)


def _csv(delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["text", "label"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


def _arrow() -> bytes:
    out = io.BytesIO()
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


FILES = {
    "rows.jsonl": JSONL.encode(),
    "rows.ndjson": JSONL.encode(),
    "rows.json": json.dumps(ROWS, indent=2).encode(),
    "rows.csv": _csv().encode(),
    "rows.tsv": _csv("\t").encode(),
    "rows.parquet": _parquet(),
    "rows.arrow": _arrow(),
    "rows.jsonl.gz": gzip.compress(JSONL.encode(), mtime=0),
    "rows.jsonl.zst": zstandard.ZstdCompressor().compress(JSONL.encode()),
    "rows.csv.gz": gzip.compress(_csv().encode(), mtime=0),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_rows(read, name: str) -> None:
    got = read(name, FILES[name])
    assert [r.fields for r in got.rows] == ROWS
    assert not got.bad
    assert not got.changes
    assert got.format == name.split(".", 1)[1].replace("ndjson", "jsonl")
    word = "line" if "json" in name and name != "rows.json" else "row"
    assert [r.at for r in got.rows] == [f"{word} {i}" for i in (1, 2, 3)]
    assert got.meter.done == got.meter.total == len(FILES[name])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.jsonl", FILES["rows.json"], "a JSON array"),
        ("rows.json", FILES["rows.jsonl"], "JSON lines"),
        ("rows.csv", FILES["rows.jsonl"], "JSON lines"),
        ("rows.csv", FILES["rows.parquet"], "parquet"),
        ("rows.parquet", FILES["rows.jsonl"], "not parquet"),
        ("rows.jsonl", FILES["rows.jsonl.gz"], "gzip"),
        ("rows.jsonl.gz", FILES["rows.jsonl.zst"], "zstd"),
        ("rows.csv", FILES["rows.tsv"], "tab"),
        (
            "rows.jsonl",
            json.dumps(ROWS[0], indent=1) + json.dumps(ROWS[1], indent=1) + "\n" + json.dumps(ROWS[2], indent=1),
            "not one object a line",
        ),
        ("rows.jsonl", b"\xef\xbb\xbf" + JSONL.encode(), "BOM removed"),
        ("rows.jsonl", JSONL.encode("utf-16"), "UTF-16"),
        ("rows.csv", JSONL.encode("utf-32"), "UTF-32"),
        ("rows.jsonl", JSONL.replace("\n", "\r").encode(), "CR (old Mac)"),
    ],
)
def test_content_decides_and_a_wrong_name_is_announced(read, name: str, content: bytes | str, said: str) -> None:
    got = read(name, content)
    assert [r.fields for r in got.rows] == ROWS
    assert any(said in c for c in got.changes), got.changes


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"", "empty"),
        ("a.jsonl", b"\n \n\t\n", "no rows"),
        ("a.jsonl", b"\x89PNG\r\n\x1a\n....", "PNG"),
        ("a.jsonl", bytes(range(256)) * 8, "not text"),
        ("a.jsonl", b"\x80\x04\x95....", "unsafe pickle"),
        ("a.jsonl", b"SQLite format 3\0....", "SQLite"),
        ("a.jsonl", JSONL.encode("utf-16-le"), "UTF-16 without a BOM"),
        ("a.csv", _csv().encode("utf-16-be"), "UTF-16 without a BOM"),
        ("a.jsonl.gz", JSONL.encode(), "gzip"),
        ("a.csv", b"a,b,a\n1,2,3\n", "duplicate column `a`"),
        ("a.json", b'[{"a": 1},]', "comma"),
        ("a.json", b'[{"a": 1}, {"a": ', "closed"),
        ("a.json", b'[{"a": 1}', "must follow an element"),
        ("a.json", b'[{"a": 1}] x', "follow the array"),
        ("a.json", b'[{"a": 1} {"a": 2}]', "must follow an element"),
        ("a.json", b"[,]", "before each comma"),
        ("a.parquet", FILES["rows.parquet"][:-20], "no parquet footer"),
        ("a.parquet", b"PAR1" + b"x" * 40 + b"PAR1", "damaged"),
        ("a.parquet", b"text\n", "not parquet"),
        ("a.arrow", FILES["rows.arrow"][:-30], "damaged"),
        ("a.xyz", b"hello\n", "recognised"),
        ("a.parquet.gz", gzip.compress(FILES["rows.parquet"], mtime=0), "compressed again"),
    ],
)
def test_what_is_refused_names_the_file_and_the_fault(read, name: str, content: bytes, said: str) -> None:
    with pytest.raises(UserError) as err:
        read(name, content)
    assert said in str(err.value)
    assert name in str(err.value)


@pytest.mark.parametrize(("name", "module"), [("rows.parquet", "pyarrow"), ("rows.arrow", "pyarrow"), ("rows.jsonl.zst", "zstandard")])
def test_a_missing_library_is_the_machines_fault_and_names_the_command(
    read, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MachineError, match=r"needs \w+: pip install 'luthier\[data\]'"):
        read(name, FILES[name])


def test_importing_the_readers_imports_no_heavy_library() -> None:
    code = (
        "import sys, luthier.parts.sources.mapping, luthier.parts.sources.source, luthier.stages.data.check, luthier.stages.data.ingest\n"
        "print([m for m in ('torch', 'pyarrow', 'zstandard', 'ftfy', 'numpy', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_bad_lines_cost_themselves_only(read) -> None:
    lines = [b'{"a": 1}', b"", b"[1]", b'"x"', b'{"a": \xe9}', b'{"a": NaN}', b'{"a": 2}', b'{"a": "\xc3']
    got = read("a.jsonl", b"\n".join(lines))
    assert [(r.at, r.fields) for r in got.rows] == [("line 1", {"a": 1}), ("line 7", {"a": 2})]
    assert set(got.bad) == {"line 3", "line 4", "line 5", "line 6", "line 8"}
    assert "0xe9 at offset" in got.bad["line 5"]
    assert "cut off" in got.bad["line 8"]


def test_the_offset_of_a_bad_byte_is_where_the_byte_is(read) -> None:
    data = b'{"a": 1}\n{"b": "\xff"}\n'
    assert f"offset {data.index(0xFF)}" in read("a.jsonl", data).bad["line 2"]


def test_bad_elements_of_an_array_cost_themselves_only(read) -> None:
    got = read("a.json", '[{"a": 1}, 7, {"a": NaN}, ["x"], {"a": "]}"}, null]')
    assert [(r.at, r.fields) for r in got.rows] == [("row 1", {"a": 1}), ("row 5", {"a": "]}"})]
    assert list(got.bad) == ["row 2", "row 3", "row 4", "row 6"]


def test_a_row_over_the_limit_is_set_aside_and_the_rest_is_read(read) -> None:
    small = Limits(max_row_bytes=200)
    long = "x" * 500
    assert list(read("a.jsonl", f'{{"a": 1}}\n{{"a": "{long}"}}\n{{"a": 2}}\n', small).bad) == ["line 2"]
    assert list(read("a.json", f'[{{"a": 1}}, {{"a": "{long}"}}, {{"a": 2}}]', small).bad) == ["row 2"]
    got = read("a.csv", f"a,b\n1,2\n{long},2\n3,4\n", small)
    assert list(got.bad) == ["row 2"]
    assert len(got.rows) == 2


def test_a_quote_open_over_the_limit_is_an_error_with_its_line(read) -> None:
    with pytest.raises(UserError, match="quote opened on line 3"):
        read("a.csv", 'a,b\n1,2\n"open,2\n' + "3,4\n" * 100, Limits(max_row_bytes=200))


@pytest.mark.parametrize(
    ("body", "bad"),
    [
        ("1,2,3\n4\n5,6\n", {"row 1": "3 fields, 2 wanted", "row 2": "1 field, 2 wanted"}),
        ('1,2\n"open,2\n3,4\n', {"row 2": "never closed: it swallows lines 3 to 4"}),
        ('"a"b,2\n3,4\n', {"row 1": "text after a closing quote"}),
        ("a\0b,2\n3,4\n", {"row 1": "NUL"}),
    ],
)
def test_csv_faults_are_named_by_row(read, body: str, bad: dict[str, str]) -> None:
    got = read("a.csv", "x,y\n" + body)
    assert set(got.bad) == set(bad)
    assert all(reason in got.bad[at] for at, reason in bad.items())


def test_csv_bytes_that_are_not_utf8_name_the_column(read) -> None:
    got = read("a.csv", b"x,y\n1,caf\xe9\n3,4\n")
    assert "0xe9 in column `y`" in got.bad["row 1"]
    assert len(got.rows) == 1


def test_csv_header_repairs_are_announced(read) -> None:
    got = read("a.csv", " x ,y,\n1,2,3\n")
    assert got.rows[0].fields == {"x": "1", "y": "2", "column_3": "3"}
    assert len(got.changes) == 2


CELLS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=8) | st.sampled_from(
    ['"', '""', "a\nb", "a\r\nb", ",", '",', "\n"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
def test_csv_reads_what_the_standard_library_wrote(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    """The oracle is csv.writer; values come back to the character (a CR LF inside a field too)."""
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, quoting=csv.QUOTE_ALL)
        writer.writerows([("x", "y"), *cells])
    opened = open_rows(path)
    assert [(i.fields["x"], i.fields["y"]) for i in opened.items] == cells  # type: ignore[union-attr]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.text(max_size=4), st.text(max_size=6) | st.integers() | st.lists(st.text(max_size=3), max_size=3), max_size=3),
        max_size=6,
    )
)
def test_json_arrays_read_what_the_standard_library_reads(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    path = tmp_path / "a.json"
    for indent in (None, 1):
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=indent), encoding="utf-8", newline="")
        assert [i.fields for i in open_rows(path).items] == rows  # type: ignore[union-attr]


def test_a_value_cut_at_every_chunk_boundary_is_the_same(tmp_path: Path) -> None:
    from luthier.parts.sources.json_text import JsonText

    data = '[{"a": "x\\"]\\\\"}, -12.5, "é{", [true, {"b": []}]]'.encode()
    for size in range(1, len(data) + 1):
        text = JsonText(iter([data[i : i + size] for i in range(0, len(data), size)]))
        assert text.peek() == "["
        text.step()
        values = []
        while text.peek() != "]":
            value = text.value(1000)
            assert value.complete
            values.append(value.text)
            if text.peek() == ",":
                text.step()
        assert values == ['{"a": "x\\"]\\\\"}', "-12.5", '"é{"', '[true, {"b": []}]']
