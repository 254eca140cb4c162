"""The rows of the training workloads as token ids and target masks, the same file for every arm.

One decision: rows are grouped by length before they are cut into steps, for every arm, because that is the
peer's best order (least padding); Luthier does not pad and gains nothing from it.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
"""`input_ids` and `completion_mask` (1: a target) per row."""

SYSTEM = "Classify the customer's banking query into exactly one intent. Answer with the intent name only. Intents: "
LONG = (4096, 7936)
"""Shortest and longest row of W3."""
EQUAL = 256
"""Length of every row of W9."""


def banking(data: Path, tokenizer: Any, num_rows: int) -> Rows:
    """W1: all labels in the system prompt, one query, one label."""
    rows, labels = _banking_rows(data)
    system = {"role": "system", "content": SYSTEM + ", ".join(labels)}
    return _chats([[system, _says("user", text), _says("assistant", label)] for text, label in rows[:num_rows]], tokenizer)


def banking_short(data: Path, tokenizer: Any, num_rows: int) -> Rows:
    """The gate: the same rows without the list of labels, for a hundred quick steps."""
    rows, _ = _banking_rows(data)
    return _chats([[_says("user", text), _says("assistant", label)] for text, label in rows[:num_rows]], tokenizer)


def _banking_rows(data: Path) -> tuple[list[tuple[str, str]], list[str]]:
    with gzip.open(data / "classification" / "banking77_train.jsonl.gz", "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    key = "category" if "category" in rows[0] else "label"
    random.Random(0).shuffle(rows)
    return [(r["text"], str(r[key])) for r in rows], sorted({str(r[key]) for r in rows})


def alpaca(data: Path, tokenizer: Any, num_rows: int) -> Rows:
    """W2: instruction and answer."""
    with (data / "instruction" / "alpaca_en_demo.jsonl").open(encoding="utf-8") as f:
        rows = [json.loads(next(f)) for _ in range(num_rows)]
    asked = ["\n\n".join(t for t in (r["instruction"], r["input"]) if t) for r in rows]
    return _chats([[_says("user", a), _says("assistant", r["output"])] for a, r in zip(asked, rows, strict=True)], tokenizer)


def long_text(data: Path, tokenizer: Any, num_rows: int) -> Rows:
    """W3: encyclopaedia text, lengths spread evenly over `LONG`; the last quarter of a row is supervised."""
    ids, at, out = _wiki(data, tokenizer), 0, []
    for i in range(num_rows):
        n = LONG[0] + (LONG[1] - LONG[0]) * i // max(1, num_rows - 1)
        out.append({"input_ids": ids[at : at + n], "completion_mask": [0] * (n - n // 4) + [1] * (n // 4)})
        at += n
    return out


def adversary(data: Path, tokenizer: Any, num_rows: int) -> Rows:
    """W9: rows of equal length that share nothing, every token supervised (the first has no predecessor)."""
    ids = _wiki(data, tokenizer)
    rows = [ids[i * EQUAL : (i + 1) * EQUAL] for i in range(8 * num_rows)]
    unlike = list({row[0]: row for row in rows}.values())[:num_rows]
    assert len(unlike) == num_rows
    return [{"input_ids": row, "completion_mask": [0] + [1] * (EQUAL - 1)} for row in unlike]


def _wiki(data: Path, tokenizer: Any) -> list[int]:
    with gzip.open(data / "pretraining" / "wiki_demo.txt.gz", "rt", encoding="utf-8") as f:
        return tokenizer(f.read(), add_special_tokens=False)["input_ids"]


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _chats(conversations: list[list[dict[str, str]]], tokenizer: Any) -> Rows:
    out = []
    for messages in conversations:
        before = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        assert ids[: len(before)] == before
        out.append({"input_ids": ids, "completion_mask": [0] * len(before) + [1] * (len(ids) - len(before))})
    return out


@dataclass(frozen=True)
class Workload:
    """rows_per_step: of one optimiser step. micro_rows: what the peer computes at once unless its setting says otherwise."""

    make: Callable[[Path, Any, int], Rows]
    rows_per_step: int
    micro_rows: int
    peers: tuple[str, ...]


WORKLOADS = {
    "gate": Workload(banking_short, 4, 4, ("trl",)),
    "W1": Workload(banking, 16, 8, ("trl",)),
    "W2": Workload(alpaca, 8, 8, ("trl", "llamafactory")),
    "W3": Workload(long_text, 2, 1, ("trl",)),
    "W9": Workload(adversary, 8, 8, ("trl",)),
}


def rows_of(workload: Workload, data: Path, model: Path, num_rows: int) -> Rows:
    """The rows, grouped by length, the steps in a shuffled order."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    out = workload.make(data, tokenizer, num_rows)
    out.sort(key=lambda r: len(r["input_ids"]))
    steps = [out[i : i + workload.rows_per_step] for i in range(0, len(out), workload.rows_per_step)]
    random.Random(1).shuffle(steps)
    return [row for step in steps for row in step]
