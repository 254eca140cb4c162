"""The fine-tuning API of an OpenAI-compatible server: files, jobs, events, results; nothing else of it.

One decision: the address comes from the person alone. TLS everywhere but on this machine, no redirect is followed, no address in
an answer is fetched, an id goes into a path only when it is plain, and an answer never reaches the terminal with the key in it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from luthier.core.errors import MachineError, UserError

if TYPE_CHECKING:
    import httpx2

TRIES = 8
LONGEST_WAIT_S = 30.0
MAX_ANSWER = 8 << 20
MAX_FILE = 16 << 30
PAGE, MAX_PAGES = 100, 200
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")
_CONTROL = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)


class Refused(Exception):
    """The server said no: `status`, `code`, its own words, and how long it asks to be left alone."""

    def __init__(self, status: int, code: str, words: str, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.status, self.code, self.words, self.wait_s = status, code, words, wait_s


class Unreachable(MachineError):
    """No answer came: refused, timed out or cut off."""


class Client:
    """One server. Every call raises Refused (the server says no), MachineError (it cannot be reached) or UserError (it wants a key)."""

    def __init__(self, url: str, key: str, stop: Callable[[], bool], wait_s: float = 1.0) -> None:
        import httpx2

        self.url, self.host, self._key, self._stop, self._wait_s = url, urlsplit(url).netloc, key, stop, wait_s
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        secure = url.startswith("https:")  # proxies of the environment only with TLS: one must not read a key meant for this machine
        timeout = httpx2.Timeout(60.0, connect=10.0, write=300.0, read=300.0)
        self._http = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=False, trust_env=secure)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._http.close()

    def upload(self, path: Path, name: str) -> str:
        """Send a training file under `name`; its id. Sent once: the caller looks for it before it sends again."""
        with path.open("rb") as f:
            answer = self._once("POST", "/files", {"data": {"purpose": "fine-tune"}, "files": {"file": (name, f, "application/jsonl")}})
        return plain_id(answer.get("id"), "file")

    def find_file(self, name: str, size: int) -> str | None:
        """The id of a file of that name and size that is on the server already and usable."""
        for entry in self._list("/files", {"purpose": "fine-tune"}):
            if entry.get("filename") == name and entry.get("bytes") == size and entry.get("status") != "error":
                return plain_id(entry.get("id"), "file")
        return None

    def create(self, body: dict[str, Any], idempotency: str) -> dict[str, Any]:
        """Submit a job, once."""
        return self._once("POST", "/fine_tuning/jobs", {"json": body, "headers": {"Idempotency-Key": idempotency}})

    def jobs(self, metadata: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Jobs with these metadata, newest first. A server that does not filter is filtered here."""
        for job in self._list("/fine_tuning/jobs", {f"metadata[{k}]": v for k, v in metadata.items()}):
            held = job.get("metadata")
            if isinstance(held, dict) and all(held.get(k) == v for k, v in metadata.items()):
                yield job

    def job(self, name: str) -> dict[str, Any]:
        """One job as it is now."""
        return self._get(f"/fine_tuning/jobs/{plain_id(name, 'job')}", {})

    def events(self, name: str, until: Callable[[str], bool]) -> list[dict[str, Any]]:
        """Events of a job, oldest first, as far back as the first one for which `until(id)` holds."""
        new: list[dict[str, Any]] = []
        for event in self._list(f"/fine_tuning/jobs/{plain_id(name, 'job')}/events", {}):
            if until(str(event.get("id"))):
                break
            new.append(event)
        new.reverse()  # the server's order within one second
        return sorted(new, key=lambda e: e["created_at"] if isinstance(e.get("created_at"), (int, float)) else 0)

    def file(self, name: str) -> dict[str, Any]:
        """What the server says about a file."""
        return self._get(f"/files/{plain_id(name, 'file')}", {})

    def download(self, name: str, to: Path) -> int:
        """The bytes of a file written to `to`; how many. Raises MachineError beyond MAX_FILE."""
        size = 0
        with self._answered(), self._http.stream("GET", f"{self.url}/files/{plain_id(name, 'file')}/content") as answer:
            if answer.status_code != 200:
                self._refuse(answer, b"")
            with to.open("wb") as f:
                for piece in answer.iter_bytes():
                    size += len(piece)
                    if size > MAX_FILE:
                        raise MachineError(f"a result file of {self.host} is larger than {MAX_FILE:,} bytes: nothing was kept of it")
                    f.write(piece)
        return size

    def pause(self, seconds: float) -> None:
        """Sleep, but not past a stop."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop():
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))

    def _list(self, path: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Every entry of a paged list. The end is `has_more: false` or an empty page."""
        after: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = self._get(path, {**params, **after, "limit": str(PAGE)})
            entries = page.get("data")
            if not isinstance(entries, list):
                raise MachineError(f"{self.host} answers {path} without a list: is it an OpenAI-compatible fine-tuning server?")
            yield from (e for e in entries if isinstance(e, dict))
            if not entries or not page.get("has_more"):
                return
            after = {"after": plain_id(entries[-1].get("id"), "entry")}

    def _get(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        """A question; asked again when the server is busy or cannot be reached, TRIES times in all."""
        for attempt in range(TRIES):
            asked_for = 0.0
            try:
                return self._once("GET", path, {"params": params})
            except Unreachable:
                if attempt == TRIES - 1 or self._stop():
                    raise
            except Refused as err:
                if err.status not in _AGAIN or attempt == TRIES - 1 or self._stop():
                    raise
                asked_for = err.wait_s
            self.pause(min(LONGEST_WAIT_S, max(asked_for, self._wait_s * 2**attempt)))
        raise AssertionError("the last attempt returns or raises")

    def _once(self, method: str, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """One request (`request`: the arguments of the HTTP library) and its JSON object."""
        with self._answered(), self._http.stream(method, self.url + path, **request) as answer:
            raw = bytearray()
            for piece in answer.iter_bytes():
                raw += piece
                if len(raw) > MAX_ANSWER:
                    raise MachineError(f"{self.host} answers {path} with more than {MAX_ANSWER:,} bytes")
            if answer.status_code != 200:
                self._refuse(answer, bytes(raw))
        body = _object(bytes(raw))
        if body is None:
            raise MachineError(
                f"{self.host} answers {path} with something other than a JSON object: is the base address right ({self.url})?"
            )
        return body

    @contextmanager
    def _answered(self) -> Iterator[None]:
        import httpx2

        try:
            yield
        except httpx2.HTTPError as err:
            raise Unreachable(f"{self.host} cannot be reached: {self.clean(str(err) or type(err).__name__)}") from None

    def _refuse(self, answer: httpx2.Response, raw: bytes) -> None:
        """Raise for an answer that is not 200."""
        if 300 <= answer.status_code < 400:
            to = self.clean(answer.headers.get("location", "elsewhere"))
            raise UserError("the server must answer itself: a redirect would carry the key and the rows on", to, "--on")
        error = (_object(raw) or {}).get("error")
        error = error if isinstance(error, dict) else {"message": error}
        words = self.clean(str(error.get("message") or answer.reason_phrase or "no reason given"))
        if answer.status_code == 401:
            raise UserError("the server must accept the key", f"401: {words}", self.host, "name its variable with --key-env")
        wait = answer.headers.get("retry-after", "")
        raise Refused(answer.status_code, str(error.get("code") or ""), words, float(wait) if wait.isdigit() else 0.0)

    def clean(self, text: str) -> str:
        """Words of a server for a terminal: one line, no control characters, not the key, at most 300 characters."""
        text = text.replace(self._key, "(hidden)") if self._key else text
        return " ".join(_CONTROL.sub(" ", text).split())[:300]


def _object(raw: bytes) -> dict[str, Any] | None:
    """A JSON object, or None."""
    try:
        body = json.loads(raw)
    except ValueError:  # not JSON, or not UTF-8
        return None
    return body if isinstance(body, dict) else None


def plain_id(value: Any, what: str) -> str:
    """An id that may stand in a path. Raises MachineError for anything else."""
    if not isinstance(value, str) or not _PLAIN_ID.fullmatch(value) or ".." in value:
        raise MachineError(f"the server gives a {what} without a plain id: {' '.join(_CONTROL.sub(' ', str(value)).split())[:60]!r}")
    return value
