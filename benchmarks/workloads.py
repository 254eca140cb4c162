"""The rows of W1 and W2 as token ids and target masks, the same file for every arm.

One decision: rows are grouped by length before they are cut into steps, for every arm, because that is the
peer's best order (least padding); Luthier does not pad and gains nothing from it.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

SYSTEM = "Classify the customer's banking query into exactly one intent. Answer with the intent name only. Intents: "


def banking(data: Path, num_rows: int) -> list[list[dict[str, str]]]:
    """W1: all labels in the system prompt, one query, one label."""
    with gzip.open(data / "classification" / "banking77_train.jsonl.gz", "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    key = "category" if "category" in rows[0] else "label"
    labels = sorted({str(r[key]) for r in rows})
    random.Random(0).shuffle(rows)
    system = {"role": "system", "content": SYSTEM + ", ".join(labels)}
    return [[system, _says("user", r["text"]), _says("assistant", str(r[key]))] for r in rows[:num_rows]]


def alpaca(data: Path, num_rows: int) -> list[list[dict[str, str]]]:
    """W2: instruction and answer."""
    with (data / "instruction" / "alpaca_en_demo.jsonl").open(encoding="utf-8") as f:
        rows = [json.loads(next(f)) for _ in range(num_rows)]
    return [[_says("user", "\n\n".join(t for t in (r["instruction"], r["input"]) if t)), _says("assistant", r["output"])] for r in rows]


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def tokenise(conversations: list[list[dict[str, str]]], model: Path, per_step: int) -> list[dict[str, Any]]:
    """`input_ids` and `completion_mask` per row, grouped by length, the steps in a shuffled order."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    out = []
    for messages in conversations:
        before = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        assert ids[: len(before)] == before
        out.append({"input_ids": ids, "completion_mask": [0] * len(before) + [1] * (len(ids) - len(before))})
    out.sort(key=lambda r: len(r["input_ids"]))
    steps = [out[i : i + per_step] for i in range(0, len(out), per_step)]
    random.Random(1).shuffle(steps)
    return [row for step in steps for row in step]


WORKLOADS = {"W1": (banking, 16), "W2": (alpaca, 8)}
"""Rows and rows per optimiser step."""
