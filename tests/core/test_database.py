"""The project database: exact under concurrent writers, migrated, and honest about damage."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import sqlalchemy as sa

from luthier.core.database import Database, journal_mode
from luthier.core.errors import MachineError, UserError


def test_the_journal_mode_follows_the_sqlite_version(tmp_path: Path) -> None:
    assert journal_mode((3, 51, 2)) == "TRUNCATE"
    assert journal_mode((3, 51, 3)) == "WAL"
    database = Database.in_folder(tmp_path)
    with database.engine.connect() as conn:
        assert conn.exec_driver_sql("PRAGMA journal_mode").scalar() == journal_mode().lower()


def test_the_migrations_give_exactly_the_declared_tables(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from luthier.core.database.tables import HEAD, metadata

    database = Database.in_folder(tmp_path)
    with database.begin() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
        assert conn.execute(sa.text("select version_num from alembic_version")).scalar() == HEAD


def test_a_database_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    import luthier.core.database as package

    old = Database(f"sqlite:///{tmp_path / 'luthier.db'}")
    with old.begin() as conn:
        config = Config()
        config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
        config.attributes["connection"] = conn
        command.upgrade(config, "0001")
        assert not sa.inspect(conn).has_table("review_items")
    assert old.new_run("bot", "k") == 1
    database = Database.in_folder(tmp_path)
    assert database.find_run("bot")["root_key"] == "k"
    with database.begin() as conn:
        assert sa.inspect(conn).has_table("review_items")


def test_a_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    database = Database.in_folder(tmp_path)
    with database.begin() as conn:
        conn.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(MachineError, match="newer Luthier"):
        Database.in_folder(tmp_path)


def test_a_damaged_file_is_one_message_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "luthier.db").write_bytes(b"not a database" * 100)
    with pytest.raises(MachineError, match=r"luthier\.db cannot be used"):
        Database.in_folder(tmp_path)


def test_runs_are_numbered_and_found_by_number_and_name(tmp_path: Path) -> None:
    database = Database.in_folder(tmp_path)
    assert [database.new_run("bot", "k1"), database.new_run("bot", "k2")] == [1, 2]
    database.close_run(2, "done", "better", "it is better")
    assert database.find_run("bot")["number"] == 2
    assert database.find_run("1")["state"] == "running"
    assert database.find_run("0002-bot")["decision"] == "better"
    with pytest.raises(UserError, match="did you mean `bot`"):
        database.find_run("bott")


def test_a_look_counts_once_per_evaluation(tmp_path: Path) -> None:
    database = Database.in_folder(tmp_path)
    assert [database.add_look("rows", what, 1) for what in ("a", "a", "b")] == [1, 1, 2]
    assert database.looks("other rows") == 0


def test_aliases_are_append_only(tmp_path: Path) -> None:
    database = Database.in_folder(tmp_path)
    assert [database.add_alias("bot", "k1"), database.add_alias("bot", "k2")] == [1, 2]
    assert database.resolve_alias("bot", 1) == "k1"
    with pytest.raises(UserError, match="bot@3"):
        database.resolve_alias("bot", 3)


def test_links_and_artifacts_are_indexed_again_without_harm(tmp_path: Path) -> None:
    database = Database.in_folder(tmp_path)
    run = database.new_run("bot", "k")
    for key in ("a", "b"):
        database.link(run, "train", key)
        database.index_artifact(key, "train", "/x", 1.0)
        database.index_artifact(key, "train", "/x", 1.0)
    assert database.links(run) == {"train": "b"}
    assert len(database.list_artifacts()) == 2


def test_concurrent_writers_are_exact(tmp_path: Path) -> None:
    Database.in_folder(tmp_path)
    script = textwrap.dedent(f"""
        from pathlib import Path
        from luthier.core.database import Database
        database = Database.in_folder(Path({str(tmp_path)!r}))
        for _ in range(50):
            database.new_run("bot", "k")
    """)
    children = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(4)]
    assert [child.wait(timeout=120) for child in children] == [0] * 4
    database = Database.in_folder(tmp_path)
    assert sorted(r["number"] for r in database.list_runs()) == list(range(1, 201))
    with database.engine.connect() as conn:
        assert conn.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
