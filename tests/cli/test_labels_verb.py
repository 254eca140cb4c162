"""`luthier data labels`: the table, the document, what is not judged, the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from luthier.cli.main import app
from luthier.parts.duplicates import semantic

WORDS = ("card", "pin", "loan")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 rows of three labels, of which row 5 is wrong; one label on one row; one row without a label; a text that steers a terminal."""

    def embedded(texts: list[str], encoder: str, progress: object = None) -> np.ndarray:
        off = np.random.default_rng(0).normal(scale=0.1, size=(len(texts), len(WORDS)))
        return (np.array([[word in text for word in WORDS] for text in texts]) + off).astype(np.float32)

    monkeypatch.setattr(semantic, "embedded", embedded)
    lines = [f"about {WORDS[i % 3]} {i},{WORDS[i % 3]}" for i in range(60)]
    lines[4] = "about \x1b[31mpin 4,loan"
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text,topic", *lines, "once,rare", "unlabelled,"]) + "\n", encoding="utf-8")
    return path


def call(*args: str) -> Result:
    return CliRunner().invoke(app, ["data", "labels", *args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_the_table_begins_with_what_the_suspicions_are_worth(file: Path) -> None:
    done = call(str(file), "--map", "classification:text=text,label=topic", "--top", "1")
    assert done.exit_code == 0, done.stderr
    assert "of 60 labels are probably wrong" in done.stderr
    assert "gives the row's label for 9" in done.stderr
    assert "not judged: 1 rows of 1 labels with fewer than 5 rows (rare)" in done.stderr
    assert "1 rows that could not be read" in done.stderr
    row = next(line for line in done.stderr.splitlines() if line.startswith("row 5"))
    assert [cell.strip() for cell in row.split("│")][:3] == ["row 5", "loan", "pin"]
    assert "\x1b[31m" not in done.stderr
    assert done.stdout == ""


def test_the_document_lists_every_suspicion_worst_first(file: Path) -> None:
    done = call(str(file), "--map", "classification:text=text,label=topic", "--json")
    document = json.loads(done.stdout)
    assert (document["kind"], document["version"], document["judged"], document["unjudged"]) == ("data_labels", 1, 60, {"rare": 1})
    worst = document["errors"][0]
    assert (worst["at"], worst["given"], worst["suggested"]) == ("row 5", "loan", "pin")
    shares = [e["given_probability"] for e in document["errors"]]
    assert shares == sorted(shares)
    assert document["agreement"]["low"] < document["agreement"]["value"] < document["agreement"]["high"]
    assert document["num_errors"] == len(document["errors"])
    assert call(str(file), "--map", "classification:text=text,label=topic", "--json", "--threshold", "1").stdout.count('"at"') == 0


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--map", "text:text=text"], "one label each"),
        (["--map", "classification:text=text,label=nothing"], "nothing"),
        (["--threshold", "2"], "threshold"),
    ],
)
def test_what_cannot_be_done_is_one_message(file: Path, args: list[str], word: str) -> None:
    done = call(str(file), *args)
    assert done.exit_code == 2
    assert word in done.stderr
