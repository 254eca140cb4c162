"""A small fine-tuning server in the shape of the OpenAI API, on a loopback port, with faults that a test can order.

One decision: it checks what it is sent as the real one does (the key, the purpose, the ending, every line, the ranges of the
hyperparameters) and a job moves one state at each look at it, so no test waits for a clock.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "sk-test-0123456789"
STATES = ("validating_files", "queued", "running", "running", "succeeded")


@dataclass
class Server:
    """What the server holds and how it should misbehave. `results`: file name -> bytes that a finished job gives."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=lambda: {"step_metrics.csv": b"step,train_loss\n1,2.5\n2,1.5\n"})
    fails_with: dict[str, str] | None = None
    stays_at: str | None = None
    busy: int = 0
    cut_after_create: int = 0
    redirect_to: str | None = None
    filters: bool = True
    models: tuple[str, ...] = ("toy-base",)
    model_name: str = "ft:toy-base:luthier:toy:0001"
    requests: list[tuple[str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def posts(self, path: str) -> int:
        """How often something was posted there."""
        return self.requests.count(("POST", path))

    def add_file(self, name: str, content: bytes, purpose: str) -> dict[str, Any]:
        ident = f"file-{len(self.files) + 1:04d}"
        self.contents[ident] = content
        self.files[ident] = {
            "id": ident, "object": "file", "bytes": len(content), "created_at": 1_700_000_000 + len(self.files), "filename": name,
            "purpose": purpose, "status": "processed",
        }  # fmt: skip
        return self.files[ident]

    def tell(self, job: str, message: str, data: dict[str, Any] | None = None) -> None:
        kept = self.events[job]
        kept.append({
            "object": "fine_tuning.job.event", "id": f"ftevent-{len(kept):04d}", "created_at": 1_700_000_000 + len(kept) // 3,
            "level": "info", "message": message, "type": "metrics" if data else "message", "data": data,
        })  # fmt: skip

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        ident = f"ftjob-{len(self.jobs) + 1:04d}"
        used = body["method"]["supervised"]["hyperparameters"]
        self.events[ident], self.looks[ident] = [], 0
        self.jobs[ident] = {
            "id": ident, "object": "fine_tuning.job", "created_at": 1_700_000_000 + len(self.jobs), "finished_at": None,
            "model": body["model"], "fine_tuned_model": None, "organization_id": "org-test", "status": STATES[0],
            "hyperparameters": used | {"learning_rate_multiplier": "auto"}, "training_file": body["training_file"],
            "validation_file": body.get("validation_file"), "result_files": [], "trained_tokens": None, "error": None,
            "seed": body["seed"], "method": body["method"], "metadata": body.get("metadata"),
        }  # fmt: skip
        self.tell(ident, "Created fine-tuning job: " + ident)
        return self.jobs[ident]

    def look(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job, one state further on."""
        now = min(self.looks[job["id"]], len(STATES) - 1)
        self.looks[job["id"]] += 1
        if job["status"] in ("succeeded", "failed", "cancelled") or job["status"] == self.stays_at:
            return job
        job["status"] = STATES[now]
        if job["status"] == "running":
            step = now - 1
            self.tell(job["id"], f"Step {step}/2: training loss=2.00", {"step": step, "train_loss": 3.0 - step, "total_steps": 2})
            if self.fails_with:
                job |= {"status": "failed", "error": {"code": "server_error", "param": None} | self.fails_with}
        if job["status"] == "succeeded":
            given = [self.add_file(n, c, "fine-tune-results")["id"] for n, c in self.results.items()]
            job |= {"fine_tuned_model": self.model_name, "finished_at": 1_700_000_900, "trained_tokens": 1234, "result_files": given}
            self.tell(job["id"], "New fine-tuned model created: " + self.model_name)
        return job


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.status, self.body = status, {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path, query = parts.path.removeprefix("/v1"), dict(parse_qsl(parts.query))
        self.state.requests.append((method, path))
        self.state.keys.append(self.headers.get("Authorization") or "")
        try:
            if self.state.redirect_to:
                self.send(302, b"", {"Location": self.state.redirect_to})
                return
            if self.state.busy and method == "GET":
                self.state.busy -= 1
                raise Problem(503, "busy")
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                raise Problem(401, f"Incorrect API key provided: {given}.", "invalid_api_key")
            found = self.route(method, path, query, body)
        except Problem as err:
            self.send(err.status, json.dumps(err.body).encode())
            return
        if found is None:  # cut off: the request was carried out and no answer comes
            self.close_connection = True
            self.connection.close()
        else:
            self.send(200, found if isinstance(found, bytes) else json.dumps(found).encode())

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "x-request-id": "req_1",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def route(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        state = self.state
        steps = path.strip("/").split("/")
        if (method, path) == ("POST", "/files"):
            return self.upload(body)
        if (method, path) == ("POST", "/fine_tuning/jobs"):
            job = state.create(self.checked(json.loads(body)))
            if state.cut_after_create:
                state.cut_after_create -= 1
                return None
            return job
        if method == "GET" and path == "/files":
            return self.page([f for f in state.files.values() if f["purpose"] == query.get("purpose", f["purpose"])], query)
        if method == "GET" and path == "/fine_tuning/jobs":
            wanted = {k[9:-1]: v for k, v in query.items() if k.startswith("metadata[") and state.filters}
            return self.page([j for j in state.jobs.values() if wanted.items() <= (j["metadata"] or {}).items()], query)
        if method == "GET" and steps[0] == "files" and steps[1] in state.files:
            return state.contents[steps[1]] if steps[2:] == ["content"] else state.files[steps[1]]
        if method == "GET" and steps[:2] == ["fine_tuning", "jobs"] and steps[2] in state.jobs:
            return self.page(state.events[steps[2]], query) if steps[3:] == ["events"] else state.look(state.jobs[steps[2]])
        raise Problem(404, f"Unknown request URL: {method} {path}", "unknown_url")

    def page(self, entries: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        """Newest first; pages of at most three, so that a client must ask on."""
        entries = entries[::-1]
        names = [e["id"] for e in entries]
        start = names.index(query["after"]) + 1 if "after" in query else 0
        size = min(3, int(query.get("limit", 20)))
        return {"object": "list", "data": entries[start : start + size], "has_more": start + size < len(entries)}

    def upload(self, body: bytes) -> dict[str, Any]:
        boundary = self.headers["Content-Type"].partition("boundary=")[2].encode()
        fields: dict[str, tuple[str | None, bytes]] = {}
        for part in body.split(b"--" + boundary)[1:-1]:
            head, _, content = part[2:-2].partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]+)"', head)
            file = re.search(rb'filename="([^"]+)"', head)
            assert name is not None
            fields[name[1].decode()] = (file[1].decode() if file else None, content)
        filename, content = fields["file"]
        if fields["purpose"][1] != b"fine-tune" or not str(filename).endswith(".jsonl"):
            raise Problem(400, "Invalid file format for Fine-Tuning API. Must be .jsonl", None, "file")
        for line in content.decode("utf-8").splitlines():
            messages = json.loads(line)["messages"]
            if messages[-1]["role"] != "assistant" or any(m.get("weight") not in (None, 0, 1) for m in messages):
                raise Problem(400, "Invalid line", "invalid_file", "file")
        return self.state.add_file(str(filename), content, "fine-tune")

    def checked(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body of a job, held to the ranges of the API."""
        if body.get("training_file") not in self.state.files:
            raise Problem(400, "invalid training_file", "invalid_training_file", "training_file")
        if body["model"] not in self.state.models:
            raise Problem(400, f"Model {body['model']} is not available for fine-tuning", "model_not_available", "model")
        used = body["method"]["supervised"]["hyperparameters"]
        metadata = body.get("metadata") or {}
        allowed = {"model", "training_file", "validation_file", "method", "suffix", "seed", "metadata"}
        if not (1 <= used["n_epochs"] <= 50 and 1 <= used["batch_size"] <= 256 and body.keys() <= allowed and len(body["suffix"]) <= 64):
            raise Problem(400, "invalid hyperparameters", "invalid_value", "method")
        if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
            raise Problem(400, "invalid metadata", "invalid_value", "metadata")
        return body


@contextmanager
def serving(state: Server) -> Iterator[Server]:
    """The server on a free loopback port while the context is open; `state.port` says which. A port that is set is used again."""
    http = ThreadingHTTPServer(("127.0.0.1", state.port), type("Bound", (Handler,), {"state": state}))
    http.daemon_threads = True
    state.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
