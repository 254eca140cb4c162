"""Checkpoints: a step's tensors and plain values in a folder that is either whole or not there.

One decision: a checkpoint counts only when its marker's bytes equal what its files' sha256s give, so a torn
write or a single flipped bit anywhere is found; the one before it is then used, and a sentence says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from luthier.core.errors import CorruptArtifact, from_os_error
from luthier.core.files import fsync_path

TENSORS, VALUES, MARKER = "state.safetensors", "state.json", "COMMITTED"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """state: what was saved, tensors and plain values together. notes: one sentence per newer checkpoint that was unusable."""

    step: int
    state: dict[str, Any]
    notes: tuple[str, ...]


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `folder/step-<step>`, then drop all but the newest `keep`.

    state: names to tensors or JSON values. A step saved before is replaced. Raises MachineError when the disk refuses.
    """
    final, aside = folder / f"step-{step:09d}", folder / f".step-{step:09d}.{os.getpid()}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        tensors = {k: v.detach().contiguous() for k, v in sorted(state.items()) if isinstance(v, torch.Tensor)}
        values = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
        (aside / TENSORS).write_bytes(save(tensors))  # not save_file: it turns a full disk into an error of its own
        (aside / VALUES).write_text(json.dumps(values, sort_keys=True), encoding="utf-8")
        for name in (TENSORS, VALUES):
            fsync_path(aside / name)
        (aside / MARKER).write_bytes(_marker(aside, step))
        fsync_path(aside / MARKER)
        fsync_path(aside)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        fsync_path(folder)
        _rotate(folder, keep)
    except OSError as err:
        raise from_os_error(err, f"saving the checkpoint of step {step} in {folder}") from err
    return final


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint; None when none was ever saved. Raises CorruptArtifact when every one is damaged."""
    notes: list[str] = []
    for path in reversed(_saved(folder)):
        fault = _fault(path)
        if fault is None:
            state: dict[str, Any] = dict(load_file(path / TENSORS))
            state.update(json.loads((path / VALUES).read_text(encoding="utf-8")))
            return Checkpoint(_step(path), state, tuple(notes))
        notes.append(f"the checkpoint of step {_step(path)} is damaged ({fault}) and was not used")
    if notes:
        raise CorruptArtifact(f"no usable checkpoint in {folder}: " + "; ".join(notes) + "; delete the folder to start again")
    return None


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        if (path / MARKER).read_bytes() != _marker(path, _step(path)):
            return "its bytes differ from its record"
    except FileNotFoundError as err:
        return f"{Path(str(err.filename)).name} is missing"
    except OSError as err:
        return f"{err.strerror} at {err.filename}"
    return None


def _marker(path: Path, step: int) -> bytes:
    sums = {}
    for name in (TENSORS, VALUES):
        with (path / name).open("rb") as f:
            sums[name] = hashlib.file_digest(f, "sha256").hexdigest()
    return json.dumps({"step": step, "sha256": sums}, sort_keys=True).encode()


def _saved(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if p.is_dir() and p.name.removeprefix("step-").isdigit())


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _rotate(folder: Path, keep: int) -> None:
    """Drop all but the `keep` newest, and whatever a process that died left half-written."""
    for path in _saved(folder)[:-keep]:
        shutil.rmtree(path)
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
