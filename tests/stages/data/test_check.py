"""`data check`: every broken file of the corpus gets a right verdict, names its places, and no input is a traceback."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.core.errors import UserError
from luthier.parts.checks.steps import step_from_text
from luthier.parts.sources.mapping import mapping_from, mapping_from_text
from luthier.parts.sources.rows import Limits
from luthier.stages.data.check import DataCheck, check_file, check_with, exit_code
from luthier.stages.data.check_document import EXIT_CODES

SHARED = Path(os.environ.get("LUTHIER_SHARED", Path(__file__).resolve().parents[4] / "shared"))
FOUND_IN = SHARED / "data" / "bad_inputs" / "index.json"


def said(check: DataCheck) -> str:
    return " | ".join(f"{p.at}: {p.reason}" for p in (*check.set_aside, *check.changes, *check.findings))


def places(check: DataCheck) -> set[str]:
    return {p.at for p in (*check.set_aside, *check.changes, *check.findings)}


# What the message must hold, in our words, for each "should_say" of the corpus.
SHOULD_SAY = {
    "gzip_truncated.jsonl.gz": "gzip ends early",
    "zip_path_traversal.zip": "unsafe member name",
    "chat_assistant_first.jsonl": "line 2",
    "chat_special_tokens_in_text.jsonl": "line 2",
    "chat_two_users_in_a_row.jsonl": "line 2",
    "chat_unknown_role.jsonl": "unknown role 'bot' in turn 2; allowed: system, user, assistant, tool",
    "mixed_schema.jsonl": "alpaca on lines 1, 4; messages on line 2; prompt_completion on line 3",
    "all_rows_identical.jsonl": "1 distinct row of 50",
    "cls_extreme_imbalance.jsonl": "class counts: 'ham' 200, 'spam' 1",
    "cls_label_variants.jsonl": "'positive', 'Positive', 'positive ', 'negative', 'NEGATIVE', 'negatve'",
    "cls_single_class.jsonl": "only one class",
    "csv_duplicate_header.csv": "duplicate column `text`",
    "csv_header_only.csv": "no rows",
    "csv_header_spaces.csv": "' Text ', ' LABEL '",
    "csv_no_header.csv": "columns found: 'Good film', 'positive'",
    "csv_semicolon.csv": "delimiter",
    "binary_as_jsonl.jsonl": "not text and not JSON lines",
    "cr_only.jsonl": "line ends",
    "gzip_named_jsonl.jsonl": "gzip",
    "latin1.jsonl": "byte 0xf9 at offset 131",
    "lone_surrogate.jsonl": "line 2",
    "nul_byte_raw.jsonl": "line 2",
    "nul_escaped.jsonl": "line 2",
    "truncated_utf8_tail.jsonl": "line 3",
    "utf16le_bom.jsonl": "UTF-16",
    "utf8_bom.jsonl": "BOM removed",
    "array_trailing_comma.json": "line 4, offset",
    "blank_lines_then_error.jsonl": "line 6",
    "comment_lines.jsonl": "line 4",
    "deep_nesting.jsonl": "line 2: nested too deep",
    "duplicate_keys.jsonl": "line 2: duplicate key `output`",
    "empty_file.jsonl": "empty file, no rows",
    "enormous_line.jsonl": "line 2: too long: 2,040,012 characters",
    "json_array_named_jsonl.jsonl": "array",
    "nan_value.jsonl": "line 2: NaN",
    "pretty_printed_objects.jsonl": "not one object a line",
    "truncated_array.json": "line 5, offset",
    "truncated_last_line.jsonl": "line 4",
    "two_objects_one_line.jsonl": "line 2",
    "whitespace_only.jsonl": "no rows",
    "folder_named.jsonl": "is a folder",
    "no_such_file.jsonl": "no_such_file.jsonl",
    "parquet_named_jsonl.jsonl": "parquet",
    "parquet_truncated.parquet": "truncated file: no parquet footer",
    "parquet_wrong_magic.parquet": "not parquet",
    "html_residue.jsonl": "line 1: HTML",
    "safetensors_empty.safetensors": "empty",
    "safetensors_nan_weights.safetensors": "not finite",
    "safetensors_truncated.safetensors": "truncated",
    "unsafe_pickle.bin": "unsafe pickle",
}
ENTRIES: list[dict[str, Any]] = json.loads(FOUND_IN.read_text(encoding="utf-8"))["files"] if FOUND_IN.is_file() else []


@pytest.mark.parametrize("entry", ENTRIES, ids=[e["file"] for e in ENTRIES])
def test_every_bad_input_gets_a_right_verdict(shared_data: Path, entry: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    check = check_file(shared_data / "bad_inputs" / entry["file"])
    assert check.verdict in entry["verdicts"], said(check)
    missing = [b["at"] for b in entry["bad_rows"] if b["at"] not in places(check)]
    assert not missing, said(check)
    if entry["good_rows"] is not None and check.verdict != "reject":
        assert check.kept == entry["good_rows"]
    if check.verdict == "accept":
        assert not places(check)
    if check.verdict == "reject":
        assert entry["file"] in said(check) or check.set_aside
        assert check.kept == 0
    if "should_say" in entry:
        assert SHOULD_SAY[entry["file"]] in said(check)
    assert capsys.readouterr().out == ""
    assert DataCheck.model_validate_json(check.model_dump_json()) == check


def test_the_corpus_is_there_and_whole(shared_data: Path) -> None:
    names = {e["file"] for e in json.loads((shared_data / "bad_inputs" / "index.json").read_text(encoding="utf-8"))["files"]}
    assert len(names) >= 90
    assert names == {e["file"] for e in ENTRIES}
    assert set(SHOULD_SAY) <= names


def test_no_value_of_the_private_rows_is_shown(shared_data: Path) -> None:
    text = check_file(shared_data / "bad_inputs" / "pii_and_secrets.jsonl").model_dump_json()
    for value in ("jane.doe", "555-0147", "4111", "AKIAIOSFODNN7EXAMPLE", "192.0.2.44", "078-05-1120"):
        assert value not in text


def test_checking_the_corpus_writes_nothing(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shared_data / "bad_inputs"
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    for path in sorted(folder.iterdir()):
        check_file(path)
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*")) == before
    assert not list(tmp_path.iterdir())


def test_exit_codes() -> None:
    assert [exit_code(word) for word, _ in EXIT_CODES] == [0, 0, 0, 1, 2]


def test_the_document_has_the_fields_of_its_contract(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": "a"}\n{"text": "y", "label": "b"}\n{"text": "z"}\n')
    got = json.loads(check_file(tmp_path / "a.jsonl").model_dump_json())
    assert got == {
        "kind": "data_check",
        "version": 1,
        "verdict": "quarantine",
        "format": "jsonl",
        "mapping": {"kind": "classification", "text": "text", "label": "label"},
        "samples": ["line 1: user: x | assistant: a", "line 2: user: y | assistant: b"],
        "rows": 3,
        "kept": 2,
        "set_aside": [{"at": "line 3", "reason": "label missing"}],
        "changes": [],
        "findings": [],
    }


def test_a_given_mapping_is_used_and_a_wrong_one_names_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("title,topic\nA,x\nB,y\n")
    assert check_file(path).verdict == "reject"
    assert check_file(path, mapping_from({"kind": "classification", "text": "title", "label": "topic"})).verdict == "accept"
    wrong = check_file(path, mapping_from({"kind": "classification", "text": "titel", "label": "topic"}))
    assert wrong.verdict == "reject"
    assert "column `titel` not found, got the columns 'title', 'topic'" in said(wrong)
    assert "did you mean `title`" in said(wrong)
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"title": "A", "topic": "x"}\n')
    assert "column `label` not found" in said(check_file(rows, mapping_from({"kind": "classification", "text": "title"})))


def test_strict_rejects_what_would_be_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n{"text": ""}\n')
    assert check_file(path).verdict == "quarantine"
    strict = check_file(path, strict=True)
    assert strict.verdict == "reject"
    assert "line 2" in places(strict)


def test_a_folder_reports_leaks_between_its_splits(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\nA good film,p\nA bad film,n\nfine,p\n")
    (folder / "dev.csv").write_text("text,label\na good film!,p\nnew,n\n")
    (folder / "test.csv").write_text("text,label\nnew,n\nA bad film,n\nsealed,p\n")
    check = check_file(folder)
    assert check.verdict == "quarantine"
    assert {p.at for p in check.set_aside} == {"dev.csv row 1", "test.csv row 1", "test.csv row 2"}
    assert check.kept == check.rows - 3
    (folder / "test.csv").write_text("text,label\nsealed,p\nanother,n\n")
    (folder / "dev.csv").unlink()
    assert check_file(folder).verdict == "accept"


def test_a_folder_without_split_files_is_a_reject_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\nx,a\n")
    check = check_file(tmp_path)
    assert check.verdict == "reject"
    assert "is a folder" in said(check)


def test_a_manifest_of_good_files_is_judged_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"text": 7}\n')
    (tmp_path / "list.json").write_text('{"files": ["a.jsonl"]}')
    check = check_file(tmp_path / "list.json")
    assert (check.verdict, check.kept, check.rows) == ("quarantine", 1, 2)
    assert places(check) == {"a.jsonl line 2"}


def test_a_manifest_that_lists_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('{"files": ["list.json"]}')
    check = check_file(tmp_path / "list.json")
    assert check.verdict == "reject"
    assert "a list of files" in said(check)


def test_very_many_places_are_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "<p>x</p>"}\n' * 1500 + '{"text": 1}\n' * 10_500)
    check = check_file(path)
    assert (check.kept, check.rows) == (1500, 12_000)
    assert len(check.set_aside) == 10_000
    assert "and 500 more rows were set aside" in said(check)
    assert "and 500 more findings of `html_residue`" in said(check)


SEEDS: dict[str, bytes] = {
    "a.jsonl": b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello \xc3\xa9"}]}\n' * 3,
    "b.jsonl": b'{"prompt": "P", "chosen": "good", "rejected": "bad"}\n{"prompt": "Q", "chosen": [], "rejected": null}\n',
    "c.json": b'[{"instruction": "I", "input": "", "output": "O"}, {"instruction": "J", "output": ["x"]}]',
    "d.csv": b'text,label\r\n"a ""quoted"", one",x\r\nplain,y\r\n',
    "e.tsv": b"text\tlabel\na\tx\nb\ty\n",
    "f.jsonl.gz": gzip.compress(b'{"text": "x", "label": 1}\n' * 20, mtime=0),
}
TOKENS = [
    b"\0",
    b"\xff",
    b"\xc3",
    b'"',
    b"'",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\n",
    b"\r",
    b"NaN",
    b"1e999",
    b"null",
    b"\xef\xbb\xbf",
]
EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["cut", "put", "swap", "end", "repeat"]), st.sampled_from(TOKENS)),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, edits: list[tuple[int, str, bytes]]) -> bytes:
    for number, how, token in edits:
        at = number % (len(data) + 1)
        if how == "cut":
            data = data[:at] + data[at + len(token) + number % 7 :]
        elif how == "put":
            data = data[:at] + token + data[at:]
        elif how == "swap":
            data = data[:at] + token + data[at + len(token) :]
        elif how == "end":
            data = data[:at]
        else:
            data = data[:at] + token * (number % 300) + data[at:]
    return data


def is_located(check: DataCheck) -> bool:
    """A reject has a message that names the file; every set-aside row has a place and a reason."""
    rows = all(p.reason and p.at.split()[0] in ("line", "row") for p in check.set_aside)
    return rows and (check.verdict != "reject" or any(f.reason for f in check.findings)) and check.kept <= check.rows


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(SEEDS)), EDITS)
def test_mutated_text_files_are_never_a_traceback(tmp_path: Path, name: str, edits: list[tuple[int, str, bytes]]) -> None:
    path = tmp_path / name
    path.write_bytes(mutated(SEEDS[name], edits))
    assert is_located(check_file(path, limits=Limits(max_row_bytes=1 << 16)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200),
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz", "a.parquet", "a.arrow", "a.zst", "a", "a.safetensors"]),
)
def test_random_bytes_are_never_a_traceback(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    check = check_file(path)
    assert check.verdict in dict(EXIT_CODES)


def test_mutated_parquet_is_never_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{"text": f"row {i}", "label": str(i % 3)} for i in range(50)]), path)
    whole = path.read_bytes()
    rng = random.Random(13)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(4, len(data) - 4)] = rng.randrange(256)
        path.write_bytes(bytes(data))
        assert check_file(path).verdict in dict(EXIT_CODES)


JSON_ROWS = st.dictionaries(
    st.sampled_from(
        [
            "messages",
            "conversations",
            "prompt",
            "completion",
            "chosen",
            "rejected",
            "text",
            "label",
            "instruction",
            "output",
            "history",
            "tools",
            "tokens",
            "ner_tags",
            "weight",
            "id",
        ]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["role", "content", "from", "value", "type", "text", "tool_calls", "function", "name", "arguments", "weight"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
    max_size=5,
)
KINDS = [
    "messages",
    "sharegpt",
    "prompt_completion",
    "alpaca",
    "dolly",
    "text",
    "classification",
    "entities",
    "preference",
    "openai_preference",
    "kto",
    "oasst",
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON_ROWS, min_size=1, max_size=4), st.sampled_from(KINDS))
def test_valid_json_of_any_shape_is_never_a_traceback_under_any_mapping(tmp_path: Path, rows: list[dict[str, Any]], kind: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert is_located(check_file(path, mapping_from({"kind": kind, "weight": None, "id": "id"})))
    assert is_located(check_file(path))


def test_other_checks_are_asked_when_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text\na few good words\nx\nanother few good words\n", encoding="utf-8")
    mapping = mapping_from_text("text:text=text")
    assert check_file(path, mapping).findings == ()
    steps = [step_from_text(text) for text in ("{kind: length, min_characters: 2}", "near_duplicates")]
    found = check_with(path, mapping, steps)
    assert [(f.at, f.check) for f in found.findings] == [("row 2", "length")]
    assert found.verdict == "warn"
    with pytest.raises(UserError, match="one data file"):
        check_with(tmp_path, mapping, steps)
    refused = check_with(path, mapping, [step_from_text("label_errors")])
    assert (refused.verdict, "two labels" in refused.findings[0].reason) == ("reject", True)
