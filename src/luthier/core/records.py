"""The four kinds of row that flow through Luthier, and their content ids.

One decision: `id` is the hash of what a row says (never of where it stood), so a split frozen by id
survives shuffling, appending and renaming; `key` is the id with a running number for repeated rows, so
predictions of two models can be paired row by row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from luthier.core.files import writing

Role = Literal["system", "user", "assistant", "tool", "text"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
"""Those of a conversation; `text` is raw text, which stands alone and has no template around it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `weight` 0 keeps an assistant turn out of the loss; `None` means the renderer's default."""

    role: Role
    content: str
    weight: float | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row came from: file and place (`line 7` for JSONL, `row 7` for CSV, Parquet and arrays)."""

    file: str
    at: str

    def __str__(self) -> str:
        return f"{self.file} {self.at}"


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation whose last message is the wanted answer; `label` is set for classification rows."""

    messages: tuple[Message, ...]
    source: Source
    id: str = ""
    key: str = ""
    label: str | None = None
    weight: float = 1.0
    group: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Every message before the last assistant turn."""
        return self.messages[:-1]

    @property
    def reference(self) -> str:
        """The wanted answer: the content of the last message."""
        return self.messages[-1].content


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with a better and a worse answer."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    source: Source
    id: str = ""
    key: str = ""
    weight: float = 1.0
    group: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rating:
    """A prompt and an answer that a person called good or bad (KTO)."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    good: bool
    source: Source
    id: str = ""
    key: str = ""
    weight: float = 1.0
    group: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """Raw text for continued pre-training. It is read as an `Example` is: no prompt, the text is the wanted answer."""

    text: str
    source: Source
    id: str = ""
    key: str = ""
    weight: float = 1.0
    group: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    label: ClassVar[None] = None
    tools: ClassVar[tuple[dict[str, Any], ...]] = ()
    prompt: ClassVar[tuple[Message, ...]] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The text as one message."""
        return (Message("text", self.text),)

    @property
    def reference(self) -> str:
        """The text."""
        return self.text


Record = Example | Preference | Rating | Text
KINDS: dict[str, type[Record]] = {"example": Example, "preference": Preference, "rating": Rating, "text": Text}
_NOT_CONTENT = {"source", "id", "key", "group", "meta"}


def content_id(record: Record) -> str:
    """16 hex digits of the sha256 of what the row says: everything but source, group and meta."""
    body = {k: v for k, v in to_json(record).items() if k not in _NOT_CONTENT}
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def with_ids(records: Iterable[Record]) -> Iterator[Record]:
    """Give every record its `id` and a `key` unique among `records` (`id`, `id-2`, `id-3` ... in order)."""
    seen: dict[str, int] = {}
    for record in records:
        rid = content_id(record)
        seen[rid] = seen.get(rid, 0) + 1
        yield replace(record, id=rid, key=rid if seen[rid] == 1 else f"{rid}-{seen[rid]}")


def to_json(record: Record) -> dict[str, Any]:
    """A record as plain JSON values; fields at their default are left out."""
    kind = next(k for k, cls in KINDS.items() if isinstance(record, cls))
    out: dict[str, Any] = {"kind": kind}
    for f in fields(record):
        value = getattr(record, f.name)
        if value in (None, "", (), {}) or (f.name == "weight" and value == 1.0):
            continue
        out[f.name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return {f.name: v for f in fields(value) if (v := _plain(getattr(value, f.name))) not in (None, [], {}) or f.name == "content"}
    if isinstance(value, Source):
        return {"file": value.file, "at": value.at}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def from_json(data: dict[str, Any]) -> Record:
    """The record that `to_json` wrote."""
    body = dict(data)
    cls = KINDS[body.pop("kind")]
    body["source"] = Source(**body["source"]) if "source" in body else Source("", "")
    for name in ("messages", "prompt", "chosen", "rejected", "completion"):
        if name in body:
            body[name] = tuple(_message(m) for m in body[name])
    for name in ("text", "messages"):
        if name in {f.name for f in fields(cls)}:
            body.setdefault(name, "" if name == "text" else ())
    if "tools" in body:
        body["tools"] = tuple(body["tools"])
    return cls(**body)


def _message(data: dict[str, Any]) -> Message:
    return Message(**{**data, "tool_calls": tuple(data.get("tool_calls", ()))})


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write records as JSONL (UTF-8, one object a line); returns how many."""
    n = 0
    with writing(path), path.open("w", encoding="utf-8", newline="\n") as f:
        for record in records:
            f.write(json.dumps(to_json(record), ensure_ascii=False) + "\n")
            n += 1
    return n


def iterate_records(path: Path) -> Iterator[Any]:
    """The records that `write_records` wrote, in order, one at a time."""
    with path.open(encoding="utf-8", newline="\n") as f:
        for line in f:
            yield from_json(json.loads(line))


def read_records(path: Path) -> list[Any]:
    """All records that `write_records` wrote, in order."""
    return list(iterate_records(path))
