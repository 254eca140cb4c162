"""A PostgreSQL, a MariaDB and an S3 server of one test run, each in a folder of its own on a free port of the loopback.

One decision: the servers are real (Debian's packages, moto over HTTP); where one is not installed its tests are skipped by name.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "p@ss:w/rd#%3f"
_AS = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root


@dataclass(frozen=True)
class Server:
    """Where it listens; how to run a statement as its owner; how to stop it."""

    port: int
    run: Callable[[str], object]
    stop: Callable[[], object]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def program(name: str, *folders: str) -> str:
    """Its path, or a skip that says what is missing."""
    found = shutil.which(name) or next((str(p) for f in folders for p in sorted(Path("/").glob(f"{f}/{name}"))), None)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


@contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """A folder below /tmp that the server's user owns."""
    folder = Path(tempfile.mkdtemp(prefix="luthier-server-"))
    if _AS:
        shutil.chown(folder, _AS)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(command: list[str], log: Path, answers: Callable[[], object], away: type[Exception]) -> Iterator[Callable[[], None]]:
    """The process from when it answers (`away`: its driver's error before) until the end; gives how to stop it."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, user=_AS, cwd="/")

    def stop() -> None:
        process.terminate()
        process.wait(60)

    try:
        ends = time.monotonic() + 60
        while True:
            assert process.poll() is None, log.read_text()[-2000:]
            try:
                answers()
                break
            except away:
                assert time.monotonic() < ends, log.read_text()[-2000:]
                time.sleep(0.05)
        yield stop
    finally:
        stop()


@contextmanager
def postgres() -> Iterator[Server]:
    psycopg = pytest.importorskip("psycopg")
    at = "usr/lib/postgresql/*/bin"
    initdb, server = program("initdb", at), program("postgres", at)
    with folder_of_nobody() as folder:
        secret, data, port = folder / "password", folder / "data", free_port()
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        made = [initdb, "-D", str(data), "-U", "owner", "--pwfile", str(secret), "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, user=_AS, cwd="/")

        def run(statement: str) -> list[tuple[object, ...]]:
            with psycopg.connect(host="127.0.0.1", port=port, user="owner", password=PASSWORD, dbname="postgres") as c:
                done = c.execute(statement)
                return done.fetchall() if done.description else []

        command = [server, "-D", str(data), "-F", "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        with running(command, folder / "log", lambda: run("SELECT 1"), psycopg.OperationalError) as stop:
            yield Server(port, run, stop)


@contextmanager
def mariadb() -> Iterator[Server]:
    pymysql = pytest.importorskip("pymysql")
    server = program("mariadbd", "usr/sbin")
    install = program("mariadb-install-db", "usr/bin")
    with folder_of_nobody() as folder:
        data, port, socket_file = folder / "data", free_port(), folder / "s"
        flags = ["--no-defaults", f"--datadir={data}"]
        made = [install, *flags, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(made, check=True, capture_output=True, user=_AS, cwd="/")
        small = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=8M", "--skip-networking=0", "--bind-address=127.0.0.1"]

        def run(statement: str, database: str | None = "shop") -> object:
            with pymysql.connect(unix_socket=str(socket_file), user="root", database=database, autocommit=True) as c, c.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()

        command = [server, *flags, *small, f"--port={port}", f"--socket={socket_file}", f"--pid-file={folder / 'pid'}"]
        with running(command, folder / "log", lambda: run("SELECT 1", None), pymysql.err.OperationalError) as stop:
            run("CREATE DATABASE shop CHARACTER SET utf8mb4", None)
            run(f"CREATE USER owner@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            run("GRANT ALL ON shop.* TO owner@'127.0.0.1'")
            yield Server(port, run, stop)


@contextmanager
def s3() -> Iterator[str]:
    """The address of an S3 server with one empty bucket, `shop`."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        with put_client(address) as client:
            client.create_bucket(Bucket="shop")
        yield address
    finally:
        server.stop()


@contextmanager
def put_client(address: str) -> Iterator[Any]:
    """A client of the S3 server, to put things there by another road than the one under test."""
    import boto3

    client = boto3.client("s3", endpoint_url=address, aws_access_key_id="key", aws_secret_access_key=PASSWORD, region_name="us-east-1")
    try:
        yield client
    finally:
        client.close()
