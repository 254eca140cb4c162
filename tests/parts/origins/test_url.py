"""Addresses: the bytes of a real HTTP server, of memory and of files, what changed and what did not, and every way it can fail."""

from __future__ import annotations

import gzip
import hashlib
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from luthier.core.config import parse_config
from luthier.core.errors import LuthierError, MachineError, UserError
from luthier.parts.origins.fetching import bring
from luthier.parts.origins.loading import origin_of
from luthier.parts.origins.url import Url

ROWS = b'{"text": "x", "label": "y"}\n'


class Server(ThreadingHTTPServer):
    """Serves `pages` with ETags, and counts the bodies that it sends. `cut`: every body ends early."""

    pages: dict[str, bytes]
    sent: int = 0
    etags: bool = True


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/status/"):
            self.send_response(int(path.split("/")[2]))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        page = self.server.pages.get(path)
        self.send_response(404 if page is None else 200)
        page = page or b""
        self.send_header("Content-Length", str(len(page) + (100 if path.startswith("/cut") else 0)))
        if self.server.etags:
            self.send_header("ETag", f'"{hashlib.sha256(page).hexdigest()}"')
        self.end_headers()
        if body:
            self.server.sent += 1
            self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(("127.0.0.1", 0), Handler)
    running.pages = {"/rows.jsonl": ROWS, "/rows.jsonl.gz": gzip.compress(ROWS), "/cut.jsonl": ROWS}
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def at(server: Server, path: str) -> Url:
    return Url(url=f"http://127.0.0.1:{server.server_port}{path}")


def test_a_file_over_http_is_fetched_once_until_it_changes(server: Server, tmp_path: Path) -> None:
    first = bring(at(server, "/rows.jsonl"), tmp_path)
    assert first.files[0].read_bytes() == ROWS
    assert first.files[0].name == "rows.jsonl"
    sent = server.sent
    assert bring(at(server, "/rows.jsonl"), tmp_path) == first
    assert server.sent == sent, "an ETag that is the same spares the copy"
    server.pages["/rows.jsonl"] = ROWS * 2
    assert bring(at(server, "/rows.jsonl"), tmp_path).files[0].read_bytes() == ROWS * 2


def test_without_an_etag_the_bytes_decide(server: Server, tmp_path: Path) -> None:
    server.etags = False
    first = bring(at(server, "/rows.jsonl"), tmp_path)
    sent = server.sent
    assert bring(at(server, "/rows.jsonl"), tmp_path) == first
    assert server.sent > sent


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("/none.jsonl", UserError, "must exist"),
        ("/status/403/x.jsonl", UserError, "HTTP 403"),
        ("/status/500/x.jsonl", MachineError, "500"),
        ("/cut.jsonl", MachineError, "cannot be read"),
        ("/", UserError, "must end with a file name|must exist"),
        ("/status/200/..%5c..%5cup.jsonl", UserError, "must end with a file name"),
    ],
)
def test_a_failure_is_one_message_that_names_the_address(
    server: Server, tmp_path: Path, path: str, error: type[LuthierError], said: str
) -> None:
    with pytest.raises(error, match=said) as err:
        bring(at(server, path), tmp_path / "home")
    assert f"127.0.0.1:{server.server_port}" in str(err.value)
    assert "\n" not in str(err.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_server_that_is_not_there_is_not_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="check the address and the network"):
        bring(Url(url="http://127.0.0.1:9/rows.jsonl"), tmp_path)


def test_secrets_of_an_address_are_named_and_never_stored(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNED", "sig=topsecret")
    bring(at(server, "/rows.jsonl?${SIGNED}"), tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and b"topsecret" in p.read_bytes()]
    with pytest.raises(UserError) as err:
        bring(at(server, "/none.jsonl?${SIGNED}"), tmp_path)
    assert "topsecret" not in str(err.value)
    for body in (
        {"url": "https://h/x?sig=topsecret"},
        {"url": "https://a:topsecret@h/x"},
        {"url": "s3://b/x", "options": {"secret": "topsecret"}},
    ):
        with pytest.raises(UserError, match="must not stand") as told:
            parse_config(Url, body)
        assert "topsecret" not in str(told.value)


def test_memory_and_patterns(tmp_path: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    for name in ("b", "a"):
        fs.pipe(f"/luthier-test/{name}.jsonl", ROWS)
    got = bring(Url(url="memory://luthier-test/*.jsonl"), tmp_path)
    assert [f.name for f in got.files] == ["a.jsonl", "b.jsonl"]
    with pytest.raises(UserError, match="must fit a file"):
        bring(Url(url="memory://luthier-test/*.csv"), tmp_path)
    fs.rm("/luthier-test", recursive=True)


def test_an_archive_at_an_address_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as z:
        z.writestr("x/rows.jsonl", ROWS)
        z.writestr("README", b"")
    got = bring(Url(url=f"file://{tmp_path}/rows.zip"), tmp_path / "home")
    assert [f.read_bytes() for f in got.files] == [ROWS]
    assert got.notes == ("left in the archive rows.zip: README",)


def test_a_wrong_address_is_told_with_the_right_one(tmp_path: Path) -> None:
    wrong = origin_of("htps://h/x")
    assert wrong is not None
    with pytest.raises(UserError, match="did you mean `https`"):
        bring(wrong, tmp_path)
    with pytest.raises(UserError, match="of one file system"):
        origin_of("simplecache::https://h/x") or origin_of("https://h/x::y")
    with pytest.raises(UserError, match="--query"):
        origin_of("sqlite:///x.db")
    with pytest.raises(UserError, match="a query goes with"):
        origin_of("https://h/x", "SELECT 1")
    assert origin_of("rows.jsonl") is None


def test_s3_without_its_package_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(MachineError, match="needs s3fs, which is not installed: pip install s3fs"):
        bring(Url(url="s3://bucket/rows.jsonl"), tmp_path)
