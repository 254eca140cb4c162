"""`luthier data check` on sources: the verdict of what they give, or one message."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app


def test_a_query_is_judged_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("shop.db") as c:
        c.execute("CREATE TABLE tickets (text TEXT, label TEXT)")
        c.executemany("INSERT INTO tickets VALUES (?, ?)", [("my card is gone", "card"), ("where is my cash", "cash"), (None, "cash")])
    done = CliRunner().invoke(app, ["data", "check", "sqlite:///shop.db", "--query", "SELECT * FROM tickets", "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["verdict"], document["rows"], document["kept"]) == (1, "quarantine", 3, 2)
    assert "sqlite:///shop.db: SELECT * FROM tickets: quarantine" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["shop.db"]


def test_a_source_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", f"file://{tmp_path}/none.jsonl"])
    assert done.exit_code == 2
    assert done.stderr == f"error: the source must exist, got nothing there (file://{tmp_path}/none.jsonl)\n"
    done = CliRunner().invoke(app, ["data", "check", "hub://no-such-org/no-such-set?split=train"])
    assert done.exit_code == 3
    assert "the hub cannot be reached for no-such-org/no-such-set train" in done.stderr
