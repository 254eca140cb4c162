"""Every bit flip and every torn file of the newest checkpoint is found; the one before is used and named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from luthier.core.errors import CorruptArtifact, MachineError
from luthier.engine.checkpoint.folder import load_newest, save_checkpoint


def state(step: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(step)
    return {
        "adapter.a": torch.randn(3, 5, generator=generator),
        "adamw.step.a": torch.tensor(float(step)),
        "order": torch.randperm(9, generator=generator),
        "rng": [1, 2**63 + step, "x"],
        "rate": 0.1 + 0.2,
        "best": None,
    }


def same(found: dict[str, object], wanted: dict[str, object]) -> bool:
    assert set(found) == set(wanted)
    return all(torch.equal(v, found[k]) if isinstance(v, torch.Tensor) else v == found[k] for k, v in wanted.items())  # type: ignore[arg-type]


def test_the_newest_comes_back_bit_for_bit_and_two_are_kept(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "none") is None
    for step in (5, 10, 100):
        save_checkpoint(tmp_path, step, state(step))
    found = load_newest(tmp_path)
    assert found is not None
    assert (found.step, found.notes) == (100, ())
    assert same(found.state, state(100))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000010", "step-000000100"]
    assert found.state["adapter.a"].dtype == torch.float32


def test_a_step_saved_again_replaces_itself(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, state(5))
    save_checkpoint(tmp_path, 5, state(6))
    found = load_newest(tmp_path)
    assert found is not None
    assert same(found.state, state(6))


def test_random_bit_flips_are_all_found(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    newest = save_checkpoint(tmp_path, 2, state(2))
    rng = np.random.default_rng(0)
    for name in sorted(p.name for p in newest.iterdir()):
        good = (newest / name).read_bytes()
        for at in rng.integers(0, len(good), 60):
            bad = bytearray(good)
            bad[at] ^= 1 << int(rng.integers(0, 8))
            (newest / name).write_bytes(bytes(bad))
            found = load_newest(tmp_path)
            assert found is not None
            assert found.step == 1
            assert same(found.state, state(1))
            assert "step 2 is damaged" in found.notes[0]
        (newest / name).write_bytes(good)
    found = load_newest(tmp_path)
    assert found is not None
    assert found.step == 2


def test_torn_and_missing_files_are_found(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    newest = save_checkpoint(tmp_path, 2, state(2))
    for name in sorted(p.name for p in newest.iterdir()):
        good = (newest / name).read_bytes()
        for cut in (0, 1, len(good) // 2, len(good) - 1):
            (newest / name).write_bytes(good[:cut])
            found = load_newest(tmp_path)
            assert found is not None
            assert found.step == 1
        (newest / name).unlink()
        found = load_newest(tmp_path)
        assert found is not None
        assert "missing" in found.notes[0]
        (newest / name).write_bytes(good)


def test_all_damaged_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    for step in (1, 2):
        (save_checkpoint(tmp_path, step, state(step)) / "COMMITTED").unlink()
    with pytest.raises(CorruptArtifact, match=r"step 2 is damaged.*step 1 is damaged.*delete the folder"):
        load_newest(tmp_path)


def test_what_a_killed_process_left_is_ignored_and_cleared(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    shutil.copytree(tmp_path / "step-000000001", tmp_path / ".step-000000002.77")
    found = load_newest(tmp_path)
    assert found is not None
    assert found.step == 1
    save_checkpoint(tmp_path, 3, state(3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000001", "step-000000003"]


def test_a_moved_checkpoint_does_not_pass_for_another_step(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1)).rename(tmp_path / "step-000000009")
    with pytest.raises(CorruptArtifact, match="step 9"):
        load_newest(tmp_path)


def newer(folder: Path, line: dict[str, object]) -> None:
    """Make a saved checkpoint's marker that of a later release."""
    body = json.dumps(line).encode()
    (folder / "COMMITTED").write_bytes(body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")


def test_a_checkpoint_of_a_newer_release_is_refused_and_not_taken_for_damage(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    newest = save_checkpoint(tmp_path, 2, state(2))
    newer(newest, {"format": 7, "anything": "else"})
    with pytest.raises(
        MachineError,
        match=r"written by a newer Luthier \(format 7, this one reads 1\): upgrade Luthier, or delete .*step-000000002 to go on",
    ):
        load_newest(tmp_path)
    (newest / "COMMITTED").write_bytes((newest / "COMMITTED").read_bytes().replace(b"7", b"8"))
    found = load_newest(tmp_path)  # its own sha256 does not hold: damage, not a newer release
    assert found is not None
    assert (found.step, len(found.notes)) == (1, 1)


def test_a_kill_while_a_step_is_saved_again_keeps_the_first_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 5, state(5))
    monkeypatch.setattr(Path, "rename", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 5, state(6))
    monkeypatch.undo()
    found = load_newest(tmp_path)
    assert found is not None
    assert same(found.state, state(5))
    save_checkpoint(tmp_path, 5, state(6))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000005-1"]


def test_a_full_disk_names_the_file_and_its_bytes_and_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, state(1))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        MachineError, match=r"disk full while saving the checkpoint of step 2 to .*state\.safetensors: \d+ bytes are needed, "
    ):
        save_checkpoint(tmp_path, 2, state(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001"]


def test_a_disk_that_refuses_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MachineError, match="while saving the checkpoint of step 1"):
        save_checkpoint(tmp_path / "file", 1, state(1))


def test_plain_values_are_json(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, 1, state(1))
    assert json.loads((folder / "state.json").read_text())["rate"] == 0.1 + 0.2
