"""The SQL origin: one SELECT that only reads, rows as they are, and no credential anywhere."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.config import parse_config
from luthier.core.errors import MachineError, UserError
from luthier.parts.origins.sql import Sql, why_no_select

READS = [
    "SELECT a FROM t",
    "  select a from t ;  ",
    "-- why\nSELECT 'a; DROP TABLE t' AS x, \"update\" FROM t /* insert; */",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "VALUES (1), (2)",
    "SELECT updated_at, created FROM t WHERE s = 'it''s set'",
    "SELECT $$a; DELETE$$",
]
WRITES = [
    ("DELETE FROM t", "begins with DELETE"),
    ("", "no word"),
    ("SELECT 1; SELECT 2", "more than one statement"),
    ("SELECT 1; DROP TABLE t;", "more than one statement"),
    ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "DELETE stands in it"),
    ("SELECT * INTO u FROM t", "INTO stands in it"),
    ("PRAGMA writable_schema = 1", "begins with PRAGMA"),
    ("EXPLAIN DELETE FROM t", "begins with EXPLAIN"),
    ("SELECT 1 /*! ; DROP TABLE t */", "MySQL runs"),
    ("SELECT 'a\\'' ; DELETE FROM t -- '", "backslash"),
    ("SELECT 'open", "not closed"),
    ("SELECT 1 /* open", "not closed"),
    ("ATTACH 'x.db' AS y", "begins with ATTACH"),
]


@pytest.mark.parametrize("query", READS)
def test_what_only_reads_is_allowed(query: str) -> None:
    assert why_no_select(query) == ""


@pytest.mark.parametrize(("query", "why"), WRITES)
def test_what_could_write_is_refused_with_the_reason(query: str, why: str) -> None:
    assert why in why_no_select(query)
    with pytest.raises(UserError, match="must be one SELECT"):
        parse_config(Sql, {"url": "sqlite:///x.db", "query": query or ";"})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as c:
        c.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, price NUMERIC, at TEXT, raw BLOB)")
        c.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?, ?)", [(i, f"é {i}" if i else None, i / 2, "2026-01-01", b"x") for i in range(1200)]
        )
    return path


def rows(path: Path, query: str, into: Path) -> list[dict[str, object]]:
    into.mkdir()
    (file,) = Sql(url=f"sqlite:///{path}", query=query).fetch(into).files
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_rows_are_those_of_the_database(database: Path, tmp_path: Path) -> None:
    got = rows(database, "SELECT id, text, price AS p FROM t ORDER BY id", tmp_path / "out")
    with sqlite3.connect(database) as c:
        assert [tuple(r.values()) for r in got] == c.execute("SELECT id, text, price FROM t ORDER BY id").fetchall()
    assert list(got[0]) == ["id", "text", "p"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT raw FROM t", "a bytes .*row 1, column raw"),
        ("SELECT id, id FROM t", "`id` twice"),
        ("SELECT 9e999 AS x", "must be finite.*column x"),
        ("SELECT nope FROM t", "no such column: nope"),
        ("SELECT * FROM t WHERE id < 0", "must have rows, got none"),
        ("SELECT load_extension('x')", "not authorized"),
    ],
)
def test_what_no_row_can_hold_is_one_message(database: Path, tmp_path: Path, query: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        rows(database, query, tmp_path / "out")


def test_the_database_itself_refuses_to_write(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the text is not looked at."""
    monkeypatch.setattr("luthier.parts.origins.sql.why_no_select", lambda query: "")
    before = database.read_bytes()
    for query in ("DELETE FROM t", "CREATE TABLE u (x)", "PRAGMA writable_schema = 1", f"ATTACH '{tmp_path}/new.db' AS y", "VACUUM"):
        (tmp_path / "out").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=r"not authorized|readonly|authorization denied"):
            Sql(url=f"sqlite:///{database}", query=query).fetch(tmp_path / "out")
    assert database.read_bytes() == before
    assert not (tmp_path / "new.db").exists()


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="SELECT'\"`;-/*!$ \\\n1a", max_size=40))
def test_the_look_at_a_text_always_ends(text: str) -> None:
    assert isinstance(why_no_select("SELECT " + text), str)


def test_credentials_are_named_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("postgresql://bob:hunter2@h/x", "mysql://h/x?password=hunter2", "postgresql://bob:${A}x@h/x"):
        with pytest.raises(UserError, match="must not stand in the project file") as err:
            parse_config(Sql, {"url": url, "query": "SELECT 1"})
        assert "hunter2" not in str(err.value)
    named = Sql(url="postgresql://bob:${SHOP_PASSWORD}@127.0.0.1:1/x", query="SELECT 1")
    with pytest.raises(UserError, match="the environment must have SHOP_PASSWORD"):
        named.fetch(tmp_path)
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
    with pytest.raises((MachineError, UserError)) as err:
        named.fetch(tmp_path)
    assert "hunter2" not in str(err.value)
    assert "hunter2" not in named.model_dump_json() + named.shown()


def test_a_database_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be one of sqlite, postgresql"):
        Sql(url="oracle://h/x", query="SELECT 1").fetch(tmp_path)
