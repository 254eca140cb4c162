"""`data duplicates` as a function: what a file's clusters are, and the file that is written without them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from luthier.core.errors import UserError
from luthier.parts.checks.near_duplicates import NearDuplicates
from luthier.parts.sources.mapping import mapping_from_text
from luthier.stages.data.duplicates import DataDuplicates, check_out, find_duplicates, write_distinct

ASK = "Could you tell me when the new card that I ordered last week will arrive at my home"
TEXT = mapping_from_text("text:text=body")


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def find(path: Path) -> DataDuplicates:
    return find_duplicates(path, TEXT, NearDuplicates(), lambda what, done, total: None)


def test_clusters_name_places_and_every_row_that_stays_is_written_as_it_was(tmp_path: Path) -> None:
    rows = [{"body": ASK, "n": 1}, {"body": "unlike", "extra": [1, {"a": None}]}, {"body": ASK + " please", "n": 3}, {"body": ASK, "n": 4}]
    path = lines(tmp_path / "in.jsonl", *rows, "{broken", {"other": "no body"}, {"body": "half \ud800"})
    before = path.read_bytes()
    found = find(path)
    (cluster,) = found.clusters
    assert [(r.at, r.fate, r.how, r.of) for r in cluster.rows] == [
        ("line 3", "stays", None, None),
        ("line 1", "goes", "near", "line 3"),
        ("line 4", "goes", "near", "line 3"),
    ]
    assert (found.stay, found.copies) == (found.rows - 2, {"near": 2})
    assert found.set_aside == 3  # half a surrogate pair is no text either
    out = tmp_path / "out.jsonl"
    assert write_distinct(path, found, out) == 3
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == [
        rows[1],
        rows[2],
        {"other": "no body"},
    ]
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_csv_file_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f'id,body\n1,"{ASK}, now"\n2,"two\nlines"\n3,"{ASK}, now"\n', encoding="utf-8")
    found = find(path)
    assert found.copies == {"exact": 1}
    assert write_distinct(path, found, tmp_path / "out.csv") == 2
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as f:
        assert list(csv.reader(f)) == [["id", "body"], ["1", f"{ASK}, now"], ["2", "two\nlines"]]


def test_nothing_is_written_over_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = lines(tmp_path / "in.jsonl", {"body": ASK, "tags": ["a"]}, {"body": "b"})
    for name, word in (("in.jsonl", "new file"), ("out.parquet", r"\.jsonl or \.csv"), ("no/where.csv", "folder")):
        with pytest.raises(UserError, match=word):
            check_out(tmp_path / name)
    with pytest.raises(UserError, match=r"line 1.*jsonl"):
        write_distinct(path, find(path), tmp_path / "out.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_row_of_several_records_goes_only_when_all_of_them_go(tmp_path: Path) -> None:
    path = lines(tmp_path / "in.jsonl", {"body": ASK}, {"body": ASK})
    found = find(path)
    row = found.clusters[0].rows[1]
    half = found.model_copy(
        update={"clusters": (found.clusters[0].model_copy(update={"rows": (row.model_copy(update={"fate": "stays"}), row)}),)}
    )
    assert write_distinct(path, half, tmp_path / "out.jsonl") == 2


def test_a_file_without_rows_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must hold rows"):
        find(lines(tmp_path / "in.jsonl", {"other": 1, "body": ""}, "{"))
