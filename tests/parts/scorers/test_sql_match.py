"""Execution accuracy on SQLite: what counts as the same rows, and that an answer's query can read and nothing else."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from luthier.core.errors import UserError
from luthier.core.keys import file_sha256
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import Scorer, load
from luthier.parts.scorers.fenced import code_of
from luthier.parts.scorers.sql_run import is_ordered
from luthier.parts.scorers.summary import evaluate


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "town's data.sqlite"
    with sqlite3.connect(path) as c:
        c.execute("create table place(name text, stars real, seats int)")
        c.executemany("insert into place values (?, ?, ?)", [("A", 1.5, 10), ("B", 2.5, 20), ("C", 2.5, None), ("A", 1.5, 10)])
    c.close()
    return path


def scorer(database: Path, **options: object) -> Scorer:
    return load({"kind": "sql_match", "database": {"path": str(database)}, **options})


def example(query: str) -> Example:
    return Example((Message("user", "q"), Message("assistant", query)), Source("rows.csv", "row 3"))


@pytest.mark.parametrize(
    ("wanted", "given", "right"),
    [
        ("select name from place", "select name from place order by name desc", 1),
        ("select name from place order by name", "select name from place order by name desc", 0),
        ("select name from place order by name", "select name from place order by 1;", 1),
        ("select * from (select name from place order by name)", "select name from place", 1),
        ("select name from place", "select distinct name from place", 0),
        ("select name, seats from place", "select name as n, seats as s from place", 1),
        ("select name, seats from place", "select seats, name from place", 0),
        ("select avg(stars) from place", "select sum(stars) / 4 from place", 1),
        ("select count(*) from place", "select 4.0", 1),
        ("select count(*) from place", "select '4'", 0),
        ("select seats from place where name = 'C'", "select null", 1),
        ("select name from place where 0", "select name from place where seats > 99", 1),
        ("select name from place", "```sql\nselect name from place\n```", 1),
        ("select name from place", "", 0),
        ("select name from place", "select nme from place", 0),
    ],
)
def test_the_same_rows(database: Path, wanted: str, given: str, right: int) -> None:
    assert scorer(database)(example(wanted), given).value == right


def test_order_as_the_settings_say(database: Path) -> None:
    one, two = example("select name from place order by name"), "select name from place order by name desc"
    assert scorer(database, order="never")(one, two).value == 1
    assert scorer(database, order="always")(example("select name from place"), two).value == 0


@pytest.mark.parametrize(
    "query",
    [
        "delete from place",
        "insert into place values ('x', 1, 1)",
        "drop table place",
        "create table t(a)",
        "create temp table t(a)",
        "attach '/tmp/other.sqlite' as other",
        "pragma journal_mode = wal",
        "pragma table_info(place)",
        "vacuum into '/tmp/copy.sqlite'",
        "select load_extension('x')",
        "select readfile('/etc/passwd')",
        "select randomblob(1000000000)",
        "select name from place; delete from place",
        "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n",
        "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n",
        "select replace(hex(zeroblob(500000)), '0', '0123456789')",
        "select 1\x00",
        "select '\ud800'",
        "begin",
    ],
)
def test_a_query_can_read_and_nothing_else(database: Path, query: str) -> None:
    before = file_sha256(database)
    score = scorer(database, seconds=0.5)(example("select name from place"), query)
    assert score.value == 0.0
    assert score.details["reason"]
    assert file_sha256(database) == before
    assert sorted(p.name for p in database.parent.iterdir()) == [database.name]
    assert not Path("/tmp/copy.sqlite").exists()


def test_a_text_beyond_the_bound_is_no_text(database: Path) -> None:
    score = scorer(database)(example("select name from place"), "select printf('%.*c', 100000000, 'x')")
    assert score.value == 0.0


def test_an_endless_query_is_stopped_and_says_so(database: Path) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"
    assert scorer(database, seconds=0.3)(example("select 1"), endless).details["reason"] == "stopped after 0.3 s"


def test_parts_and_rows_that_cannot_be_scored(database: Path, tmp_path: Path) -> None:
    sql = scorer(database)
    scores = [sql(example("select name from place where 0"), "select 1 where 0"), sql(example("select 1"), "nonsense")]
    assert sql.parts(scores) == {"empty_references": 0.5, "failed": 0.5}
    with pytest.raises(UserError, match=r"a query that runs as its answer, got no such column: nme \(rows.csv row 3 on"):
        sql.check([example("select nme from place")])
    with pytest.raises(UserError, match="unable to open"):
        scorer(tmp_path / "none.sqlite").check([example("select 1")])
    (tmp_path / "text.sqlite").write_text("this is no database, " * 99)
    with pytest.raises(UserError, match="not a database"):
        scorer(tmp_path / "text.sqlite").check([example("select * from place")])


def test_rows_whose_own_query_gives_nothing_may_be_left_out(database: Path) -> None:
    sql = scorer(database, empty="unscored")
    rows = [example("select name from place where 0"), example("select name from place")]
    summary = evaluate([sql], rows, ["select 1 where 0", "select name from place where 0"])
    assert [r["sql_match"] for r in summary.rows] == [None, 0.0]
    assert summary.estimates["sql_match"].n == 1
    assert summary.parts["sql_match"] == {"empty_references": 0.0, "failed": 0.0, "unscored": 1.0}
    with pytest.raises(UserError, match="a row whose own query gives something, got 1 rows whose queries give nothing"):
        sql.check(rows[:1])


def test_only_an_order_of_the_statement_itself_counts() -> None:
    assert is_ordered("select a from b ORDER\n BY a limit 1")
    assert not is_ordered("select a from (select a from b order by (a + (1)))")
    assert not is_ordered("select 'order by', \"order by\" from b -- order by a")


def test_every_query_of_the_restaurants_matches_itself(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "tasks" / "text2sql_restaurants.jsonl").open(encoding="utf-8")]
    sql = scorer(shared_data / "tasks" / "text2sql_restaurants.sqlite")
    queries = sorted({r["query"] for r in rows})
    scores = [sql(example(q), q) for q in queries]
    assert [s.value for s in scores] == [1.0] * len(queries)
    assert 0.2 < sql.parts(scores)["empty_references"] < 0.8


def test_code_out_of_an_answer() -> None:
    assert code_of("x = 1") == "x = 1"
    assert code_of("Sure:\n```python\nx = 1\n```\nand\n```\ny\n```") == "x = 1\n"
    assert code_of("```py\nx = 1\n") == "x = 1\n"
    assert code_of("```\nx\n```") == "x\n"
