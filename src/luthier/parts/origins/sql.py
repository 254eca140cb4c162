"""The rows of one SELECT on a database that is only read.

One decision: reading alone is asked of the database itself (SQLite: opened read-only, and an authorizer that allows nothing but
reading; PostgreSQL, MySQL: a read-only transaction, rolled back), and the text is looked at besides: one statement, one SELECT.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field, field_validator

from luthier.core.errors import MachineError, UserError
from luthier.parts.origins.contract import Fetched, Origin
from luthier.parts.origins.rows_file import write_rows
from luthier.parts.origins.secrets import filled, refuse_literal_secrets, scrubbed

BATCH = 500
_READ_ONLY = {"postgresql": "SET TRANSACTION READ ONLY", "mysql": "SET TRANSACTION READ ONLY", "mariadb": "SET TRANSACTION READ ONLY"}
_DRIVERS = {"postgresql": ("psycopg", "postgres"), "mysql": ("pymysql", "mysql"), "mariadb": ("pymysql", "mysql")}
"""The driver used where the address names none, and the extra of this package that has it."""
_QUOTED = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$", re.DOTALL)
_WRITES = (
    *("insert", "update", "delete", "merge", "drop", "alter", "create", "truncate", "grant", "revoke", "call", "copy"),
    *("attach", "detach", "pragma", "vacuum", "set", "lock", "into", "do"),
)
_ALLOWED = (sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)


class Sql(Origin):
    """A query on SQLite, PostgreSQL, MySQL or MariaDB, by SQLAlchemy."""

    main: ClassVar[str] = "query"

    kind: Literal["sql"] = "sql"
    url: str = Field(pattern=r"^[a-z]+(\+[a-z0-9]+)?://", description="as SQLAlchemy has it; secrets as ${NAME}")
    query: str = Field(min_length=1, description="one SELECT; ORDER BY keeps the rows, and so the data set, the same")

    @field_validator("url")
    @classmethod
    def _plain(cls, value: str) -> str:
        refuse_literal_secrets(value)
        return value

    @field_validator("query")
    @classmethod
    def _one_select(cls, value: str) -> str:
        fault = why_no_select(value)
        if fault:
            raise ValueError(f"the query must be one SELECT that only reads: {fault}")
        return value

    def shown(self) -> str:
        return f"{self.url}: {' '.join(self.query.split())[:120]}"

    def fetch(self, into: Path) -> Fetched:
        path = into / "query.jsonl"
        with closing(self._rows()) as rows:
            write_rows(path, rows, f"the query on {self.url}")
        return Fetched((path,))

    def local(self, root: Path) -> str:
        path = self.url.partition(":///")[2] if self.url.startswith("sqlite") else ""
        return path.partition("?")[0]

    def at(self, path: str) -> Sql:
        return self.model_copy(update={"url": f"{self.url.partition(':///')[0]}:///{path}"})

    def _rows(self) -> Generator[dict[str, Any], None, None]:
        from sqlalchemy import exc

        connected = False
        try:
            engine = self._engine()
            with engine.connect() as connection:
                connected = True
                if engine.dialect.name == "sqlite":
                    connection.connection.dbapi_connection.set_authorizer(_only_read)
                else:
                    connection.exec_driver_sql(_READ_ONLY[engine.dialect.name])
                yield from self._streamed(connection)
                connection.rollback()
        except (exc.SQLAlchemyError, sqlite3.Error) as err:
            lost = not connected or bool(getattr(err, "connection_invalidated", False))
            raise self._told(err, lost) from None

    def _streamed(self, connection: Any) -> Iterator[dict[str, Any]]:
        """The rows, by a cursor of the server; it is closed before anything else is said on the connection."""
        with closing(connection.execution_options(stream_results=True, yield_per=BATCH).exec_driver_sql(self.query)) as result:
            columns = list(result.keys())
            twice = next((c for c in columns if columns.count(c) > 1), None)
            if twice is not None:
                raise UserError("the columns of a query must differ", f"`{twice}` twice", self.url, "name one of them: SELECT a AS b")
            for row in result:
                yield dict(zip(columns, row, strict=True))

    def _engine(self) -> Any:
        """Raises UserError for an address that is none, a database that is not known, or a file that is not there."""
        import sqlalchemy
        from sqlalchemy import exc

        try:
            address = _filled(sqlalchemy.make_url(self.url))
        except exc.ArgumentError:
            raise UserError(
                "the address must be SQLAlchemy's", self.url, fix="sqlite:///shop.db, postgresql://${DB_USER}@host/shop"
            ) from None
        dialect = address.get_backend_name()
        if dialect == "sqlite":
            return _sqlite(address.database or "", self.url)
        if dialect not in _READ_ONLY:
            raise UserError(f"the database must be one of sqlite, {', '.join(_READ_ONLY)}", dialect, self.url)
        driver, extra = _DRIVERS[dialect]
        if "+" not in address.drivername:
            address = address.set(drivername=f"{dialect}+{driver}")
        try:
            return sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool)
        except ImportError as err:
            raise MachineError(f"reading {dialect} needs a driver ({scrubbed(str(err))}): pip install 'luthier[{extra}]'") from None

    def _told(self, err: Exception, away: bool) -> Exception:
        """A database's complaint: the query's fault, or that the database cannot be reached."""
        words = scrubbed(str(getattr(err, "orig", None) or err), self.url)
        if away and not self.url.startswith("sqlite"):
            return MachineError(f"the database {self.url} cannot be reached ({words}): check the address, the network and the credentials")
        return UserError("the query must run on the database", words, self.url)


def _filled(address: Any) -> Any:
    """An address with `${NAME}` filled part by part, so that a password may hold any sign."""
    parts = {name: filled(text) for name in ("username", "password", "host", "database") if isinstance(text := getattr(address, name), str)}
    query = {k: filled(v) if isinstance(v, str) else tuple(filled(x) for x in v) for k, v in address.query.items()}
    return address.set(**parts, query=query)


def _sqlite(path: str, shown: str) -> Any:
    """An engine whose one connection can do nothing but read the file at `path`."""
    import sqlalchemy

    if not Path(path).is_file():
        raise UserError("the database file must exist", path or "none", shown)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{quote(str(Path(path).resolve()))}?mode=ro", uri=True)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=sqlalchemy.pool.NullPool)


def _only_read(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    loads = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() == "load_extension"
    return sqlite3.SQLITE_OK if action in _ALLOWED and not loads else sqlite3.SQLITE_DENY


def why_no_select(query: str) -> str:
    """Why a text is not one SELECT statement; empty when it is. Quoted names, texts and comments are not looked into."""
    if "/*!" in query or "\\'" in query:
        return "a comment that MySQL runs, or a quote behind a backslash (write '' for a quote in a text)"
    plain = _QUOTED.sub(" ? ", query)
    if any(mark in plain for mark in ("'", '"', "`", "/*")):
        return "a quote or comment that is not closed"
    plain = plain.strip().removesuffix(";")
    if ";" in plain:
        return "more than one statement"
    words = re.findall(r"[a-z_][a-z0-9_$]*", plain.lower())
    if not words or words[0] not in ("select", "with", "values"):
        return f"it begins with {words[0].upper() if words else 'no word'}"
    found = next((w for w in words if w in _WRITES), "")
    return f"{found.upper()} stands in it (a column of that name goes in quotes)" if found else ""
