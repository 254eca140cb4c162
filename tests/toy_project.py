"""A complete project at toy size: a CSV of keyword -> label rows, a tiny recipe, and a random two-layer base.

One decision: the rows can be learnt (the keyword gives the label), so a whole run takes seconds and still ends
with a real verdict; every test that needs a project starts from this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

WORDS = {"card": "stolen", "rate": "wrong", "cash": "late"}
FILLERS = ("now", "my", "it", "is", "the", "why", "one", "two", "how", "when")
ENV = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "NO_COLOR": "1", "COLUMNS": "200"}


def toy_rows(per_class: int = 40) -> list[tuple[str, str]]:
    """(text, label) rows, all different; the keyword of a row gives its label."""
    rows = []
    for i in range(per_class):
        for label, word in WORDS.items():
            rows.append((f"{FILLERS[i % 10]} {FILLERS[i // 10]} {word}", label))
    return rows


def make_learner(folder: Path) -> Path:
    """The toy llama with embeddings large enough for a confident answer (norm and tied head cap the logits of the plain one)."""
    from safetensors.torch import load_file, save_file

    from toy_models import make_toy_base

    make_toy_base(folder, hidden=64)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] *= 3.0
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def toy_settings(base: Path, **sections: Any) -> dict[str, Any]:
    """The project file as data; `sections` replace whole top-level keys."""
    settings: dict[str, Any] = {
        "name": "toy",
        "objective": {"task": "classify", "goal": "Name the topic.", "metric": "accuracy", "metrics": ["macro_f1"]},
        "base": str(base),
        "data": {
            "files": [{"path": "rows.csv", "licence": "CC0"}],
            "mapping": {"kind": "classification", "text": "text", "label": "label"},
            "prompt": {"system": "Labels: {labels}", "user": "{text}"},
        },
        "split": {"train": 60, "validation": 18, "test": 42, "seed": 3, "near": None},  # its rows are made of few words
        "prepare": {"max_length": 256},
        "train": {
            "method": {"kind": "lora", "rank": 8},
            "learning_rate": 0.01,
            "schedule": {"kind": "cosine", "warmup_ratio": 0.1},
            "epochs": 4,
            "batch_size": 8,
            "evaluations": 2,
            "train_sample": 8,
        },
        "evaluate": {"baselines": [{"name": "zero-shot"}, {"name": "few-shot-3", "shots": 3}]},
        "watch": {"side_effects": False},  # measured where a test is about them: it reads both models again
        "execution": {"threads": 1, "save_every": 2},
    }
    return {**settings, **sections}


def write_toy(folder: Path, base: Path, **sections: Any) -> Path:
    """Write the classification project into `folder`; returns its project file."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["text,label", *(f"{text},{label}" for text, label in toy_rows())]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return write_settings(folder, toy_settings(base, **sections))


def write_extraction(folder: Path, base: Path) -> Path:
    """Write a project whose answers are generated text: the entities of a message as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(40):
        name = ("Ann", "Bob", "Eve")[i % 3]
        tokens, tags = [FILLERS[i % 10], name, str(i)], ["O", "B-person" if i % 4 else "O", "O"]
        rows.append(json.dumps({"tokens": tokens, "tags": tags}))
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    settings = toy_settings(
        base,
        name="toy-extraction",
        objective={"task": "extract", "goal": "List the people.", "metric": "entity_f1", "metrics": ["valid_json"]},
        data={
            "files": ["rows.jsonl"],
            "mapping": {"kind": "entities", "tokens": "tokens", "tags": "tags"},
            "prompt": {"system": "People as JSON.", "user": "{text}"},
        },
        split={"train": 20, "validation": 8, "test": 12, "seed": 3},
        evaluate={"decoding": {"kind": "text", "max_new_tokens": 12}, "baselines": [{"name": "zero-shot"}]},
    )
    settings["train"].update(epochs=2)
    return write_settings(folder, settings)


def write_settings(folder: Path, settings: dict[str, Any]) -> Path:
    """Write `settings` as the folder's project file."""
    file = folder / "luthier.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return file


def command(*args: str) -> list[str]:
    """The command line of the `luthier` under test."""
    return [sys.executable, "-m", "luthier", *args]


def environment(**more: str) -> dict[str, str]:
    """The environment of a process under test: offline, without colour, and without a home of its own."""
    kept = {k: v for k, v in os.environ.items() if k != "LUTHIER_HOME"}
    return {**kept, **ENV, **more}


def luthier(folder: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in `folder` to its end."""
    return subprocess.run(command(*args), cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=300, check=False)


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    """Start the command line in `folder`; its output goes to `<folder>/out.txt`."""
    out = (folder / "out.txt").open("w", encoding="utf-8")
    with out:
        return subprocess.Popen(command(*args), cwd=folder, env=environment(), stdout=out, stderr=subprocess.STDOUT, text=True)


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write `rows.jsonl` into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
