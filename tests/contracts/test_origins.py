"""What every origin must hold, wherever its rows come from: found by its folder, so a new one needs a case here and is told so."""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from luthier.core.config import Config, parse_config
from luthier.core.errors import UserError
from luthier.core.keys import file_sha256
from luthier.parts.origins.contract import Origin
from luthier.parts.origins.fetching import bring
from luthier.parts.origins.loading import OriginConfig, known_origins

ROWS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(6)]


@dataclass(frozen=True)
class Case:
    """An origin over rows on this disk, how to change them, and the same origin where there is nothing."""

    origin: Origin
    change: Callable[[], object]
    absent: Origin


def lines(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def archive_case(folder: Path) -> Case:
    def write(rows: list[dict[str, str]]) -> None:
        with zipfile.ZipFile(folder / "rows.zip", "w") as z:
            z.writestr("a/rows.jsonl", lines(rows))

    write(ROWS)
    kind = known_origins()["archive"]
    return Case(kind(path=str(folder / "rows.zip")), lambda: write(ROWS[:5]), kind(path=str(folder / "none.zip")))  # type: ignore[call-arg]


def url_case(folder: Path) -> Case:
    file = folder / "rows.jsonl"
    file.write_bytes(lines(ROWS))
    kind = known_origins()["url"]
    return Case(kind(url=f"file://{file}"), lambda: file.write_bytes(lines(ROWS[:5])), kind(url=f"file://{folder}/none.jsonl"))  # type: ignore[call-arg]


def sql_case(folder: Path) -> Case:
    with sqlite3.connect(folder / "rows.db") as connection:
        connection.execute("CREATE TABLE rows (text TEXT, label TEXT)")
        connection.executemany("INSERT INTO rows VALUES (:text, :label)", ROWS)

    def change() -> None:
        with sqlite3.connect(folder / "rows.db") as connection:
            connection.execute("DELETE FROM rows WHERE text = 'text 5'")

    kind = known_origins()["sql"]
    query = "SELECT * FROM rows ORDER BY text"
    return Case(kind(url=f"sqlite:///{folder}/rows.db", query=query), change, kind(url=f"sqlite:///{folder}/none.db", query=query))  # type: ignore[call-arg]


def hub_case(folder: Path) -> Case:
    import datasets

    def save(rows: list[dict[str, str]]) -> None:
        datasets.Dataset.from_list(rows).save_to_disk(str(folder / "saved"))

    save(ROWS)
    kind = known_origins()["hub"]
    empty = folder / "none"
    empty.mkdir()
    return Case(kind(name=str(folder / "saved")), lambda: save(ROWS[:5]), kind(name=str(empty)))  # type: ignore[call-arg]


CASES = {"archive": archive_case, "url": url_case, "sql": sql_case, "hub": hub_case}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    folder = tmp_path / "source"
    folder.mkdir()
    return CASES[request.param](folder)


def test_every_origin_has_a_case() -> None:
    assert set(CASES) == set(known_origins())


def test_the_rows_are_brought_and_nothing_else_is_written(case: Case, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "source").rglob("*") if p.is_file()}
    got = bring(case.origin, tmp_path / "home")
    assert [json.loads(line) for f in got.files for line in f.read_text().splitlines()] == ROWS
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "source").rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "source"]


def test_the_same_rows_are_the_same_bytes_and_other_rows_are_others(case: Case, tmp_path: Path) -> None:
    first = bring(case.origin, tmp_path / "home")
    again = bring(case.origin, tmp_path / "home")
    elsewhere = bring(case.origin, tmp_path / "other")
    assert again == first
    assert [file_sha256(f) for f in elsewhere.files] == [file_sha256(f) for f in first.files]
    kept = [f.read_bytes() for f in first.files]
    case.change()
    os.utime(tmp_path / "source")
    changed = bring(case.origin, tmp_path / "home")
    assert changed.files != first.files
    assert [f.read_bytes() for f in first.files] == kept, "a run that has begun keeps its rows"
    assert sum(len(f.read_text().splitlines()) for f in changed.files) == 5


def test_a_copy_that_was_changed_is_fetched_again(case: Case, tmp_path: Path) -> None:
    first = bring(case.origin, tmp_path / "home")
    kept = first.files[0].read_bytes()
    first.files[0].write_bytes(b"{}\n")
    try:
        again = bring(case.origin, tmp_path / "home")
    except UserError:  # it was removed aloud
        again = bring(case.origin, tmp_path / "home")
    assert again.files[0].read_bytes() == kept


def test_what_is_not_there_is_one_message_that_names_it(case: Case, tmp_path: Path) -> None:
    with pytest.raises(UserError) as err:
        bring(case.absent, tmp_path / "home")
    assert "\n" not in str(err.value)
    assert "none" in str(err.value)
    assert [p for p in (tmp_path / "home").rglob("*") if p.is_file()] == []


class Holder(Config):
    """A config with an origin in it."""

    source: OriginConfig


def test_an_origin_is_written_down_and_read_back(case: Case) -> None:
    body = json.loads(Holder(source=case.origin).model_dump_json())
    assert parse_config(Holder, body).source == case.origin
    assert case.origin.shown()
    main = type(case.origin).main
    assert main in type(case.origin).model_fields
