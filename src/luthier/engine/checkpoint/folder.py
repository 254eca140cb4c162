"""Checkpoints: a step's tensors and plain values in a folder that is either whole or not there.

One decision: a checkpoint counts only when its marker's bytes equal what its files' sha256s give, so a torn
write or a single flipped bit anywhere is found; the one before it is then used, and a sentence says so. A saved
folder is never touched again but to be deleted: a step that is saved twice gets a second folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from luthier.core.errors import CorruptArtifact, MachineError, from_os_error
from luthier.core.files import fsync_path, make_folder, write_durable

TENSORS, VALUES, MARKER = "state.safetensors", "state.json", "COMMITTED"
FORMAT = 1
"""Raised by one whenever an older Luthier could not read a checkpoint that this one writes."""
_NAME = re.compile(r"step-(\d{9,})(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """state: what was saved, tensors and plain values together. notes: one sentence per newer checkpoint that was unusable."""

    step: int
    state: dict[str, Any]
    notes: tuple[str, ...]


class _Damaged(Exception):
    """What is wrong with a checkpoint, in words."""


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `folder/step-<step>`, then drop all but the newest `keep` steps.

    state: names to tensors or JSON values. A step saved before is replaced. Raises MachineError when the disk refuses.
    """
    again = [_place(p)[1] for p in _saved(folder) if _place(p)[0] == step]
    name = f"step-{step:09d}" + (f"-{max(again) + 1}" if again else "")
    final, aside = folder / name, folder / f".{name}.{os.getpid()}"
    tensors = {k: v.detach().contiguous() for k, v in sorted(state.items()) if isinstance(v, torch.Tensor)}
    values = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
    files = {TENSORS: save(tensors), VALUES: json.dumps(values, sort_keys=True).encode()}
    try:
        make_folder(folder)
        shutil.rmtree(aside, ignore_errors=True)  # left by a process of the same number
        aside.mkdir()
        for file, data in files.items():
            write_durable(aside / file, data)
        write_durable(aside / MARKER, _marker(step, files))
        fsync_path(aside)
        aside.rename(final)
        fsync_path(folder)
        _rotate(folder, keep)
    except OSError as err:
        shutil.rmtree(aside, ignore_errors=True)  # half a checkpoint must not fill a full disk
        raise from_os_error(err, f"saving the checkpoint of step {step} to") from err
    return final


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint; None when none was ever saved.

    Raises CorruptArtifact when every one is damaged, and MachineError when a newer Luthier wrote it.
    """
    notes: list[str] = []
    for path in reversed(_saved(folder)):
        step = _place(path)[0]
        try:
            return Checkpoint(step, _read(path, step), tuple(notes))
        except _Damaged as err:
            notes.append(f"the checkpoint of step {step} is damaged ({err}) and was not used")
    if notes:
        raise CorruptArtifact(f"no usable checkpoint in {folder}: " + "; ".join(notes) + "; delete the folder to start again")
    return None


def _read(path: Path, step: int) -> dict[str, Any]:
    """The state of a whole checkpoint. Raises _Damaged; the bytes that were hashed are the bytes that are used."""
    try:
        marker = (path / MARKER).read_bytes()
        newer = _newer_format(marker)
        if newer:
            fix = f"upgrade Luthier, or delete {path} to go on from an older checkpoint"
            raise MachineError(f"the checkpoint {path} was written by a newer Luthier (format {newer}, this one reads {FORMAT}): {fix}")
        files = {name: (path / name).read_bytes() for name in (TENSORS, VALUES)}
    except FileNotFoundError as err:
        raise _Damaged(f"{Path(str(err.filename)).name} is missing") from None
    except OSError as err:
        raise _Damaged(f"{err.strerror} at {err.filename}") from None
    if marker != _marker(step, files):
        raise _Damaged("its bytes differ from its record")
    return {**load(files[TENSORS]), **json.loads(files[VALUES])}


def _marker(step: int, files: Mapping[str, bytes]) -> bytes:
    """Two lines: what the checkpoint is, with the sha256 of each file, and the sha256 of that line itself."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return _signed(json.dumps({"format": FORMAT, "step": step, "sha256": sums}, sort_keys=True).encode())


def _signed(line: bytes) -> bytes:
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"


def _newer_format(marker: bytes) -> int | None:
    """The format number of an undamaged marker from a later release; every format begins with these two lines."""
    line = marker.partition(b"\n")[0]
    if not marker.startswith(_signed(line)):
        return None
    found = json.loads(line)["format"]
    return found if found > FORMAT else None


def _saved(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted((p for p in folder.glob("step-*") if _NAME.fullmatch(p.name) and p.is_dir()), key=_place)


def _place(path: Path) -> tuple[int, int]:
    """(step, how often the step had been saved before)."""
    step, again = _NAME.fullmatch(path.name).groups()  # type: ignore[union-attr]
    return int(step), int(again or 0)


def _rotate(folder: Path, keep: int) -> None:
    """Keep the last save of the `keep` newest steps; drop the rest, and whatever a process that died left half-written."""
    last = {_place(p)[0]: p for p in _saved(folder)}
    kept = set(list(last.values())[-keep:])
    for path in _saved(folder):
        if path not in kept:
            shutil.rmtree(path)
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
