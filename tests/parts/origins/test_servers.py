"""Rows out of real servers: PostgreSQL, MariaDB and S3; what they refuse, and what a person is told."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import PASSWORD, Server, mariadb, postgres, put_client, s3

from luthier.core.errors import MachineError, UserError
from luthier.parts.origins.fetching import bring
from luthier.parts.origins.sql import BATCH, Sql
from luthier.parts.origins.url import Url

NUM = 3 * BATCH + 7


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_USER", "owner")
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    monkeypatch.setenv("WRONG", "not-the-password")


@pytest.fixture(scope="module")
def pg() -> Iterator[Server]:
    with postgres() as server:
        server.run(
            "CREATE TABLE tickets (id int, body text, price numeric(8,2), at timestamptz, tags text[], extra jsonb, open bool, raw bytea)"
        )
        server.run(
            f"INSERT INTO tickets SELECT i, 'ticket ' || i || ' \u00fc\U0001f642', i / 4.0, '2026-11-22 05:00:00+00', ARRAY['a', 'b'],"
            f" '{{\"k\": [1, null]}}', i % 2 = 0, 'x' FROM generate_series(1, {NUM}) i"
        )
        server.run("UPDATE tickets SET body = NULL WHERE id = 2")
        server.run("CREATE TABLE notes (n int)")
        server.run("CREATE FUNCTION noted() RETURNS int LANGUAGE sql AS 'INSERT INTO notes VALUES (1) RETURNING n'")
        yield server


@pytest.fixture(scope="module")
def maria() -> Iterator[Server]:
    with mariadb() as server:
        server.run("CREATE TABLE shop.tickets (id int, body text, price decimal(8,2), at datetime, extra json, open bool, raw blob)")
        server.run(
            "INSERT INTO tickets SELECT seq, CONCAT('ticket ', seq, ' \u00fc\U0001f642'), seq / 4,"
            " '2026-11-22 05:00:00', '{\"k\": [1, null]}',"
            f" seq % 2 = 0, 'x' FROM seq_1_to_{NUM}"
        )
        server.run("UPDATE shop.tickets SET body = NULL WHERE id = 2")
        server.run("CREATE TABLE shop.notes (n int)")
        server.run("CREATE FUNCTION shop.noted() RETURNS int BEGIN INSERT INTO shop.notes VALUES (1); RETURN 1; END")
        yield server


def postgres_url(server: Server, password: str = "SHOP_PASSWORD") -> str:
    return f"postgresql://${{SHOP_USER}}:${{{password}}}@127.0.0.1:{server.port}/postgres"


def maria_url(server: Server, password: str = "SHOP_PASSWORD") -> str:
    return f"mariadb://${{SHOP_USER}}:${{{password}}}@127.0.0.1:{server.port}/shop"


def rows(url: str, query: str, home: Path) -> list[dict[str, object]]:
    (file,) = bring(Sql(url=url, query=query), home).files
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_postgresql_gives_its_rows_with_their_types(pg: Server, tmp_path: Path) -> None:
    query = "SELECT id, body, price, at AT TIME ZONE 'UTC' AS at, tags, extra, open FROM tickets ORDER BY id"
    got = rows(postgres_url(pg), query, tmp_path)
    assert len(got) == NUM
    assert got[1]["body"] is None
    wanted = {"id": 3, "body": "ticket 3 ü🙂", "price": "0.75", "at": "2026-11-22T05:00:00", "tags": ["a", "b"], "extra": {"k": [1, None]}}
    assert got[2] == {**wanted, "open": False}
    assert [row["id"] for row in got] == list(range(1, NUM + 1))


def test_mariadb_gives_its_rows_with_their_types(maria: Server, tmp_path: Path) -> None:
    got = rows(maria_url(maria), "SELECT id, body, price, at, extra, open FROM tickets ORDER BY id", tmp_path)
    assert len(got) == NUM
    assert got[1]["body"] is None
    wanted = {"id": 3, "body": "ticket 3 ü🙂", "price": "0.75", "at": "2026-11-22T05:00:00", "extra": '{"k": [1, null]}', "open": 0}
    assert got[2] == wanted
    mysql = maria_url(maria).replace("mariadb://", "mysql://")
    assert rows(mysql, "SELECT id FROM tickets WHERE id < 3 ORDER BY id", tmp_path / "mysql") == [{"id": 1}, {"id": 2}]


def test_a_function_that_writes_is_refused_by_the_database(pg: Server, maria: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the query must run on the database.*read-only"):
        rows(postgres_url(pg), "SELECT noted()", tmp_path)
    with pytest.raises(UserError, match=r"the query must run on the database.*READ ONLY"):
        rows(maria_url(maria), "SELECT noted()", tmp_path)
    assert pg.run("SELECT count(*) FROM notes") == [(0,)]
    assert maria.run("SELECT count(*) FROM shop.notes") == ((0,),)


@pytest.mark.parametrize("url_of", [postgres_url, maria_url], ids=["postgresql", "mariadb"])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT nothing_like_it FROM tickets", "the query must run on the database"),
        ("SELECT * FROM no_table", "the query must run on the database"),
        ("SELECT raw FROM tickets", "row 1, column raw"),
        ("SELECT id AS a, id AS a FROM tickets", "`a` twice"),
        ("SELECT id FROM tickets WHERE id < 0", "a source must have rows"),
    ],
)
def test_a_wrong_query_is_the_users_to_mend(url_of, query: str, said: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server = request.getfixturevalue("pg" if url_of is postgres_url else "maria")
    with pytest.raises(UserError) as told:
        rows(url_of(server), query, tmp_path)
    assert said in str(told.value)
    assert PASSWORD not in str(told.value)


@pytest.mark.parametrize("url_of", [postgres_url, maria_url], ids=["postgresql", "mariadb"])
def test_who_is_not_let_in_is_told_so_without_the_password(url_of, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server = request.getfixturevalue("pg" if url_of is postgres_url else "maria")
    with pytest.raises(MachineError, match="cannot be reached") as told:
        rows(url_of(server, "WRONG"), "SELECT 1 AS one", tmp_path)
    assert "not-the-password" not in str(told.value)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3() as address:
        yield address


def at(address: str, path: str, secret: str = "SHOP_PASSWORD") -> Url:
    return Url(url=f"s3://shop/{path}", options={"endpoint_url": address, "key": "${SHOP_USER}", "secret": f"${{{secret}}}"})


def put(address: str, key: str, data: bytes) -> None:
    with put_client(address) as client:
        client.put_object(Bucket="shop", Key=key, Body=data)


def test_an_object_is_fetched_and_again_only_when_it_changed(bucket: str, tmp_path: Path) -> None:
    lines = b"".join(b'{"text": "ticket %d", "label": "card"}\n' % i for i in range(2000))
    put(bucket, "one/rows.jsonl.gz", gzip.compress(lines, mtime=0))
    origin = at(bucket, "one/rows.jsonl.gz")
    first = bring(origin, tmp_path)
    assert gzip.decompress(first.files[0].read_bytes()) == lines
    assert origin.version()
    assert origin.version() == at(bucket, "one/rows.jsonl.gz").version()
    assert bring(origin, tmp_path) == first
    put(bucket, "one/rows.jsonl.gz", gzip.compress(lines[:500], mtime=0))
    assert bring(origin, tmp_path).files != first.files
    assert gzip.decompress(first.files[0].read_bytes()) == lines


def test_a_pattern_gives_the_objects_in_order(bucket: str, tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        put(bucket, f"many/{name}", name.encode())
    got = bring(at(bucket, "many/*.csv"), tmp_path)
    assert [(f.name, f.read_bytes()) for f in got.files] == [("a.csv", b"a.csv"), ("b.csv", b"b.csv")]


def test_what_is_not_there_is_one_message_without_the_secret(bucket: str, tmp_path: Path) -> None:
    for path, said in (("one/none.jsonl", "the source must exist"), ("none/*.csv", "the pattern must fit a file")):
        with pytest.raises(UserError, match=said) as told:
            bring(at(bucket, path), tmp_path)
        assert PASSWORD not in str(told.value)
    gone = Url(url="s3://no-such-bucket/rows.csv", options={"endpoint_url": bucket, "key": "${SHOP_USER}", "secret": "${SHOP_PASSWORD}"})
    with pytest.raises(UserError, match="the source must exist"):
        bring(gone, tmp_path)
