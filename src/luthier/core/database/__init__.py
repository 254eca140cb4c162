"""The one SQL database of a project: runs, an index of artifacts, aliases, looks and events.

One decision: SQLite's journal mode follows the driver's version, because every SQLite up to 3.51.2 can
corrupt a WAL that two connections write (fixed in 3.51.3); older drivers use TRUNCATE. Imported lazily:
SQLAlchemy costs half a second.
"""

from __future__ import annotations

import errno
import fcntl
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection

from luthier.core.database import tables as t
from luthier.core.errors import MachineError, UserError, did_you_mean, from_os_error

WAL_SAFE = (3, 51, 3)
_REFUSALS = {"full": errno.ENOSPC, "disk I/O error": errno.EIO, "readonly": errno.EROFS}
"""SQLite's words for what the machine refused."""


def journal_mode(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> str:  # type: ignore[assignment]
    """The journal mode that is safe with this SQLite version."""
    return "WAL" if version >= WAL_SAFE else "TRUNCATE"


def now() -> str:
    """The local time as ISO 8601 with offset."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


class Database:
    """A thin layer of named queries. Every write is one immediate transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url, connect_args={"timeout": 60} if url.startswith("sqlite") else {})
        if url.startswith("sqlite"):
            event.listen(self.engine, "connect", _on_connect)
            event.listen(self.engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))

    @classmethod
    def in_folder(cls, root: Path) -> Database:
        """The project's SQLite database below its `.luthier` folder, migrated to this release."""
        root.mkdir(parents=True, exist_ok=True)
        database = cls(f"sqlite:///{root / 'luthier.db'}")
        with (root / "migrate.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            database.migrate()
        return database

    def migrate(self) -> None:
        """Bring the schema to this release. Raises MachineError for a database of a newer release or a damaged one."""
        from alembic import command
        from alembic.config import Config as AlembicConfig

        with self.begin() as conn:
            found = self._revision(conn)
            if found == t.HEAD:
                return
            if found is not None and found > t.HEAD:
                newer = f"schema {found}, this one knows {t.HEAD}"
                raise MachineError(f"the database {self.url} was written by a newer Luthier ({newer}): upgrade Luthier")
            config = AlembicConfig()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = conn
            command.upgrade(config, "head")

    def _revision(self, conn: Connection) -> str | None:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        return conn.execute(sa.text("select version_num from alembic_version")).scalar()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction. A damaged or locked file becomes a MachineError with the path."""
        try:
            with self.engine.begin() as conn:
                yield conn
        except exc.DatabaseError as err:
            if isinstance(err, exc.IntegrityError):
                raise
            place, said = self.url.removeprefix("sqlite:///"), str(err.orig)
            for words, number in _REFUSALS.items():
                if words in said:
                    raise from_os_error(OSError(number, said, place), "writing") from err
            if "unable to open" in said:
                _look_beside(place)
            fix = "move the file away and run again; artifacts and runs on disk are not touched"
            raise MachineError(f"the database {place} cannot be used: {said}; {fix}") from err

    def new_run(self, name: str, root_key: str) -> int:
        """Open a run and return its number (1, 2, 3 ... never reused)."""
        with self.begin() as conn:
            top = conn.execute(sa.select(sa.func.max(t.runs.c.number))).scalar() or 0
            conn.execute(t.runs.insert().values(number=top + 1, name=name, state="running", created=now(), root_key=root_key))
            return top + 1

    def close_run(self, number: int, state: str, decision: str | None = None, sentence: str | None = None) -> None:
        """Record how a run ended: done, stopped or failed."""
        values = {"state": state, "finished": now(), "decision": decision, "sentence": sentence}
        with self.begin() as conn:
            conn.execute(t.runs.update().where(t.runs.c.number == number).values(**values))

    def reopen_run(self, number: int) -> None:
        """Say that a run which was stopped or failed is being carried on."""
        with self.begin() as conn:
            conn.execute(t.runs.update().where(t.runs.c.number == number).values(state="running", finished=None, sentence=None))

    def list_runs(self) -> list[dict[str, Any]]:
        """Every run, newest first."""
        with self.begin() as conn:
            return [dict(r) for r in conn.execute(t.runs.select().order_by(t.runs.c.number.desc())).mappings()]

    def find_run(self, name_or_number: str) -> dict[str, Any]:
        """A run by number, by name (its newest), or by `number-name`. Raises UserError naming the nearest."""
        runs = self.list_runs()
        for run in runs:
            if name_or_number in (str(run["number"]), run["name"], f"{run['number']:04d}-{run['name']}"):
                return run
        known = [str(r["number"]) for r in runs] + sorted({r["name"] for r in runs})
        raise UserError(
            "a run of this project is wanted", repr(name_or_number), fix=did_you_mean(name_or_number, known) or "there are no runs yet"
        )

    def link(self, run: int, role: str, key: str) -> None:
        """Say that `run` uses the artifact `key` as `role`."""
        with self.begin() as conn:
            conn.execute(t.run_artifacts.delete().where(t.run_artifacts.c.run == run, t.run_artifacts.c.role == role))
            conn.execute(t.run_artifacts.insert().values(run=run, role=role, key=key))

    def links(self, run: int) -> dict[str, str]:
        """Artifact keys of a run by role."""
        with self.begin() as conn:
            rows = conn.execute(t.run_artifacts.select().where(t.run_artifacts.c.run == run)).mappings()
            return {r["role"]: r["key"] for r in rows}

    def index_artifact(self, key: str, stage: str, path: str, seconds: float) -> None:
        """Add a finished artifact to the index; again is fine."""
        with self.begin() as conn:
            conn.execute(t.artifacts.delete().where(t.artifacts.c.key == key))
            conn.execute(t.artifacts.insert().values(key=key, stage=stage, path=path, seconds=seconds, created=now()))

    def list_artifacts(self) -> list[dict[str, Any]]:
        """Every indexed artifact, newest first."""
        with self.begin() as conn:
            return [dict(r) for r in conn.execute(t.artifacts.select().order_by(t.artifacts.c.created.desc())).mappings()]

    def add_look(self, rows_id: str, what: str, run: int | None, reason: str | None = None, only_first: bool = False) -> int:
        """Count an evaluation of sealed rows; the same evaluation read again is no new look. Returns the count.

        only_first: add none where there is another one, and return 0.
        """
        with self.begin() as conn:
            same = sa.select(t.looks.c.id).where(t.looks.c.rows_id == rows_id, t.looks.c.what == what)
            if conn.execute(same).first() is None:
                if only_first and self._count_looks(conn, rows_id):
                    return 0
                conn.execute(t.looks.insert().values(rows_id=rows_id, what=what, run=run, reason=reason, created=now()))
            return self._count_looks(conn, rows_id)

    def list_looks(self, rows_id: str) -> list[dict[str, Any]]:
        """Every look at these sealed rows (`what`, `run`, `reason`, `created`), the first one first."""
        with self.begin() as conn:
            return [dict(r) for r in conn.execute(t.looks.select().where(t.looks.c.rows_id == rows_id).order_by(t.looks.c.id)).mappings()]

    def looks(self, rows_id: str) -> int:
        """How many different evaluations of these sealed rows have been made."""
        with self.begin() as conn:
            return self._count_looks(conn, rows_id)

    def _count_looks(self, conn: Connection, rows_id: str) -> int:
        return conn.execute(sa.select(sa.func.count()).select_from(t.looks).where(t.looks.c.rows_id == rows_id)).scalar_one()

    def add_alias(self, name: str, key: str) -> int:
        """Give `key` the next number under `name`; earlier numbers keep their keys. Returns the number."""
        with self.begin() as conn:
            top = conn.execute(sa.select(sa.func.max(t.aliases.c.number)).where(t.aliases.c.name == name)).scalar() or 0
            conn.execute(t.aliases.insert().values(name=name, number=top + 1, key=key, created=now()))
            return top + 1

    def aliases(self, name: str) -> dict[int, str]:
        """The keys of a name by number; none when nobody has that name."""
        with self.begin() as conn:
            rows = conn.execute(sa.select(t.aliases.c.number, t.aliases.c.key).where(t.aliases.c.name == name))
            return {row.number: row.key for row in rows}

    def resolve_alias(self, name: str, number: int) -> str:
        """The key of `name@number`."""
        with self.begin() as conn:
            wanted = sa.select(t.aliases.c.key).where(t.aliases.c.name == name, t.aliases.c.number == number)
            key = conn.execute(wanted).scalar()
        if key is None:
            raise UserError("a known alias is wanted", f"{name}@{number}")
        return key

    def add_event(self, run: int | None, kind: str, body: dict[str, Any]) -> None:
        """Append one event."""
        with self.begin() as conn:
            conn.execute(t.events.insert().values(run=run, kind=kind, body=json.dumps(body), created=now()))


def _look_beside(place: str) -> None:
    """Say what the system says to a plain file beside the database: SQLite only says that it cannot open its own."""
    try:
        with tempfile.NamedTemporaryFile(dir=Path(place).parent, prefix=".luthier-") as f:
            f.write(bytes(4096))
    except OSError as err:
        raise from_os_error(OSError(err.errno, err.strerror, place), "writing") from err


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event decides, not the driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA journal_mode={journal_mode()}")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
