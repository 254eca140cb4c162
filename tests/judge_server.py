"""A small OpenAI-compatible server on this machine, whose answers a test writes: real HTTP, no network.

One decision: `answer(body, number)` gives (status, bytes or a JSON value, headers), so a test can be a good judge, a busy one, one that
talks nonsense, or one that drips.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any], int], tuple[int, Any, dict[str, str]]]


class Calls:
    """url: the base address; bodies: what was asked, in order; headers: those of the last request."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.lock = threading.Lock()


def said(text: str) -> tuple[int, Any, dict[str, str]]:
    """An ordinary answer."""
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}, {}


@contextmanager
def judge_server(answer: Answer, drip_s: float = 0.0) -> Iterator[Calls]:
    """A server for as long as the block lasts. drip_s: seconds between single bytes of an answer."""
    calls = Calls()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with calls.lock:
                calls.bodies.append(body)
                calls.headers = {k.lower(): v for k, v in self.headers.items()}
                number = len(calls.bodies)
            status, given, headers = answer(body, number) if self.path == "/v1/chat/completions" else (404, {"error": "no such route"}, {})
            raw = given if isinstance(given, bytes) else json.dumps(given).encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in (raw[i : i + 1] for i in range(len(raw))) if drip_s else (raw,):
                    self.wfile.write(piece)
                    time.sleep(drip_s)
            except (BrokenPipeError, ConnectionResetError):
                return

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    calls.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield calls
    finally:
        server.shutdown()
        server.server_close()
