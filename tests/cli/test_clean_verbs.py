"""data clean, why, diff and freeze on the finished toy project: documents, words for people, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from luthier.cli.clean_tables import inline_diff
from luthier.cli.main import app

DIRTY = 'text,label\n"cafÃ© is open",late\nplain <b>words</b>,wrong\nx,late\n'


@pytest.fixture
def project(finished_toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "toy"
    shutil.copytree(finished_toy, folder, symlinks=True)
    (folder / "dirty.csv").write_text(DIRTY, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def call(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["data", *words])
    assert done.exit_code == code, done.output
    return done


def document(*words: str) -> dict[str, Any]:
    return json.loads(call(*words, "--json").stdout)


def test_clean_shows_every_change_and_writes_only_with_out(project: Path) -> None:
    check = ("--check", "length:min_characters=2,roles=user")
    before = sorted(p.name for p in project.iterdir())
    said = call("clean", "dirty.csv", *check, "--out", "clean.csv", "--dry-run").stderr
    assert "[-cafÃ©-]{+café+} is open" in said
    assert "too short" in said
    assert sorted(p.name for p in project.iterdir()) == before
    body = document("clean", "dirty.csv", *check, "--out", "clean.csv")
    assert (body["kind"], body["rows"], body["fates"]) == ("data_clean", 3, {"kept": 0, "changed": 2, "set_aside": 1, "dropped": 0})
    assert body["repairs"] == {"mojibake": 1, "html": 1}
    assert (project / "clean.csv").read_text(encoding="utf-8") == "text,label\ncafé is open,late\nplain words,wrong\n"
    assert (project / body["changes_file"]).is_file()
    undone = document("clean", "clean.csv", "--undo", "--out", "back.csv")
    assert (undone["kind"], undone["rows"]) == ("data_undone", 3)
    assert (project / "back.csv").read_text(encoding="utf-8") == DIRTY.replace('"', "")


def test_repairs_are_chosen_by_name(project: Path) -> None:
    assert document("clean", "dirty.csv", "--repair", "html")["repairs"] == {"html": 1}
    assert document("clean", "dirty.csv", "--repair", "none")["repairs"] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clean", "dirty.csv", "--repair", "htlm"], "did you mean `html`"),
        (["clean", "dirty.csv", "--check", "lenght"], "did you mean `length`"),
        (["clean", "dirty.csv", "--check", "length:min_word=2"], "did you mean `min_words`"),
        (["clean", "dirty.csv", "--check", "length:min_words"], "name=value"),
        (["clean", "dirty.csv", "--check", "{kind: length, min_words: [}"], "valid YAML"),
        (["clean", "dirt.csv"], "did you mean `dirty.csv`"),
        (["clean", "dirty.csv", "--out", "rows.csv"], "must be a new file"),
        (["clean", "dirty.csv", "--undo"], "--undo needs --out"),
        (["clean", "dirty.csv", "--map", "classification:text=words"], "column"),
        (["why", "nothing"], "a row of this data is wanted"),
        (["why", "rows.csv:1", "--run", "7"], "a run of this project is wanted"),
        (["diff", "rows.csv", "none.csv"], "the data file must exist"),
        (["diff", "rows.csv", "v@1"], "a version of this project is wanted"),
        (["freeze", "a b"], "letters, digits"),
    ],
)
def test_a_wrong_word_is_one_message(project: Path, words: list[str], said: str) -> None:
    done = call(*words, code=2)
    assert said in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr


def test_why_tells_the_story_in_words(project: Path) -> None:
    body = document("why", "rows.csv:1")
    steps = [s["step"] for s in body["stories"][0]["steps"]]
    assert (body["kind"], steps[:2]) == ("data_why", ["ingest", "split"])
    said = call("why", "rows.csv:1").stderr
    assert "ingest: kept" in said
    assert "split: kept (" in said


def test_diff_of_two_files_and_of_versions(project: Path) -> None:
    rows = (project / "rows.csv").read_text(encoding="utf-8").splitlines()
    (project / "new.csv").write_text("\n".join([*rows[:100], "something new,late", *rows[102:]]) + "\n", encoding="utf-8")
    body = document("diff", "rows.csv", "new.csv")
    assert (body["kind"], body["rows"]) == ("data_diff", {"a": 120, "b": 119})
    assert body["counts"]["same"] == 118
    assert body["counts"]["changed"] + body["counts"]["added"] == 1
    assert 0 <= body["label_shift"] < 0.1
    assert set(body["lengths"]["a"]) == {"prompt", "answer"}
    assert "something new" in call("diff", "rows.csv", "new.csv").stderr
    first = document("freeze", "v")
    assert (first["kind"], first["version_name"], first["known"]) == ("data_frozen", "v@1", False)
    assert document("freeze", "v")["known"] is True
    assert document("diff", "v@1", "1")["counts"] == {"same": 120, "added": 0, "removed": 0, "changed": 0, "moved": 0}


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("the cafÃ© now", "the café now", "the [-cafÃ©-]{+café+} now"),
        ("a\u200bb", "ab", "[-a⟨U+200B⟩b-]{+ab+}"),
        ("end  ", "end", "end[-··-]"),
        ("x" * 300 + " a", "x" * 300 + " b", "…" + "x" * 39 + " [-a-]{+b+}"),
    ],
)
def test_a_diff_shows_what_nobody_sees(before: str, after: str, marked: str) -> None:
    assert inline_diff(before, after, colour=False).plain == marked


def test_a_diff_in_colour_has_no_marks_and_bounds_long_texts() -> None:
    text = inline_diff("old word", "new word", colour=True)
    assert text.plain == "oldnew word"
    assert {str(span.style) for span in text.spans} == {"red strike", "bold green"}
    long = inline_diff("a b " * 5000, "c d " * 5000, colour=False)
    assert len(long.plain) < 2000
    console = Console(width=80)
    console.print(long)
