"""`luthier data duplicates`: the table, the document, the file, the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from luthier.cli.duplicates_verb import differences
from luthier.cli.main import app

ASK = "Could you tell me when the new card that I ordered last week will arrive at my home"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(f"text\n{ASK}\nanother thing entirely\n{ASK} please\n\x1b[31mred\n", encoding="utf-8")
    return path


def call(*args: str) -> Result:
    return CliRunner().invoke(app, ["data", "duplicates", *args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_the_table_shows_what_stays_and_what_differs(file: Path) -> None:
    done = call(str(file), "--map", "text:text=text", "--keep", "first")
    assert done.exit_code == 0
    assert "3 of 4 rows stay; copies: 1 near" in done.stderr
    assert "1 (2 rows)" in done.stderr
    assert "near 0.92 of row 1" in done.stderr
    assert "Could you tell me … arrive at my home [+ please]" in done.stderr
    assert "--out FILE writes" in done.stderr
    assert done.stdout == ""
    assert "\x1b[31m" not in done.stderr


def test_the_file_is_written_and_the_document_says_where(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "distinct.csv"
    done = call(str(file), "--map", "text:text=text", "--out", str(out), "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["version"], document["out"], document["stay"]) == ("data_duplicates", 1, str(out), 3)
    assert document["settings"]["threshold"] == 0.8
    assert [r["fate"] for r in document["clusters"][0]["rows"]] == ["stays", "goes"]
    assert len(out.read_text(encoding="utf-8").splitlines()) == 4
    assert call(str(file), "--map", "text:text=text", "--out", str(out)).exit_code == 2


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--threshold", "1.5"], "threshold"),
        (["--map", "text:text=nothing"], "nothing"),
        (["--out", "x.parquet"], ".jsonl or .csv"),
        (["--keep", "shortest"], "shortest"),
    ],
)
def test_wrong_input_is_one_message(file: Path, args: list[str], word: str) -> None:
    given = args if "--map" in args else ["--map", "text:text=text", *args]
    done = call(str(file), *given)
    assert done.exit_code == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_differences_are_told_with_and_without_colours() -> None:
    plain = differences("a b c d", "a x c d e", plain=True)
    assert plain.plain == "a [- b] [+ x] c d [+ e]"
    coloured = differences("a b c d", "a x c d e", plain=False)
    assert coloured.plain == "a b x c d e"
    assert {str(s.style) for s in coloured.spans} == {"red strike", "bold green"}
    long = " ".join(map(str, range(30)))
    assert differences(long, long + " end", plain=True).plain == "0 1 2 3 … 26 27 28 29 [+ end]"
