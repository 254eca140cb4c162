"""Faults of the machine: damaged artifacts and databases, a full disk, no permission, a base that is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from toy_project import environment, luthier, write_toy

RUN = Path(".luthier/runs/0001-toy")


@pytest.fixture
def copy(finished_toy: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished_toy, tmp_path / "toy", symlinks=True)
    return tmp_path / "toy"


def one_message(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 3 and one message that holds the words."""
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert "fault of Luthier" not in done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)


@pytest.mark.parametrize("victim", ["train/adapter/adapter_model.safetensors", "tuned/predictions.jsonl", "split/test.jsonl"])
def test_a_flipped_byte_is_found_and_mended_as_told(copy: Path, victim: str) -> None:
    path = (copy / RUN / victim).resolve()
    original = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(original[:-7] + bytes([original[-7] ^ 1]) + original[-6:])
    done = luthier(copy, "run")
    artifact = next(p for p in path.parents if p.parent.name == "artifacts")
    one_message(
        done, artifact.name, Path(victim).name, "differs from its recorded sha256", "delete that folder and run the same command again"
    )
    shutil.rmtree(artifact)
    again = luthier(copy, "run")
    assert again.returncode == 0, again.stderr
    assert path.read_bytes() == original


def test_a_damaged_database_is_one_message_and_moving_it_away_helps(copy: Path) -> None:
    database = copy / ".luthier" / "luthier.db"
    database.write_bytes(b"this is not a database, it only has the name of one" * 40)
    one_message(luthier(copy, "run"), "luthier.db", "move the file away and run again")
    database.rename(copy / "aside.db")
    again = luthier(copy, "run")
    assert again.returncode == 0, again.stderr
    assert "built train" not in again.stderr


def test_the_base_cannot_be_found_again(tmp_path: Path, learner_base: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(learner_base, base)
    write_toy(tmp_path / "toy", base)
    assert luthier(tmp_path / "toy", "train").returncode == 0
    shutil.move(base, tmp_path / "elsewhere")
    done = luthier(tmp_path / "toy", "run")
    assert done.returncode == 2
    assert "the model's folder must exist" in done.stderr
    assert "Traceback" not in done.stderr
    shutil.move(tmp_path / "elsewhere", base)
    again = luthier(tmp_path / "toy", "run")
    assert again.returncode == 0
    assert "built train" not in again.stderr


def test_an_emptied_model_cache_is_filled_again_aloud(tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "engine" / "models")
    from gguf_toys import write_gguf

    model = write_gguf(learner_base, tmp_path / "tiny.gguf")
    folder = tmp_path / "toy"
    write_toy(folder, model, train={"epochs": 0.2, "evaluations": 1}, evaluate={"baselines": [{"name": "zero-shot"}]})
    cache = tmp_path / "cache"
    first = luthier(folder, "train", LUTHIER_CACHE=str(cache))
    assert first.returncode == 0, first.stderr
    shutil.rmtree(cache)
    again = luthier(folder, "run", LUTHIER_CACHE=str(cache))
    assert again.returncode in (0, 1), again.stderr
    assert "base is built again: the model's folder" in again.stderr
    assert "built train" not in again.stderr
    shutil.rmtree(cache)
    shutil.rmtree((folder / RUN / "tuned").resolve())
    moved = luthier(folder, "run", LUTHIER_CACHE=str(tmp_path / "other"))
    one_message(moved, "the base model's folder", "is gone", "models pull")


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path, learner_base: Path) -> None:
    write_toy(tmp_path, learner_base)
    (tmp_path / "taken").write_text("")
    done = luthier(tmp_path, "run", LUTHIER_HOME=str(tmp_path / "taken" / "home"))
    one_message(done, "taken")
    assert (tmp_path / "taken").read_text() == ""


INSIDE = """
set -e
mount -t tmpfs -o size={size} none "{mount}"
cp -r "{project}/." "{mount}"
cd "{mount}"
{prepare}
set +e
{python} -m luthier run > "{out}/first.out" 2> "{out}/first.err"; echo $? > "{out}/first.rc"
find .luthier -name "*.part" -o -name "*.aside" | grep -v scratch > "{out}/half.txt"
ls .luthier/artifacts > "{out}/artifacts.txt" 2> /dev/null
for d in .luthier/artifacts/*/; do test ! -d "$d" -o -f "$d/record.json" || echo "$d" >> "{out}/half.txt"; done 2> /dev/null
{mend}
{python} -m luthier run > "{out}/second.out" 2> "{out}/second.err"; echo $? > "{out}/second.rc"
cp {run}/train/adapter/adapter_model.safetensors "{out}/adapter"
"""


def in_namespace(tmp_path: Path, project: Path, size: str, prepare: str, mend: str) -> Path:
    """Run the project twice on a small file system of its own, mended in between; skips where that is not permitted."""
    mount, out = tmp_path / "mount", tmp_path / "out"
    mount.mkdir()
    out.mkdir()
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(mount)], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"a mount namespace is not permitted here: {probe.stderr.decode().strip()}")
    script = INSIDE.format(size=size, mount=mount, project=project, prepare=prepare, mend=mend, python=sys.executable, out=out, run=RUN)
    env = environment(LUTHIER_CACHE=str(tmp_path / "cache"))
    subprocess.run(["unshare", "-rm", "bash", "-c", script], env=env, check=True, timeout=300, capture_output=True)
    return out


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
@pytest.mark.parametrize("room", ["40 KB", "250 KB", "900 KB", "a disk of 1 MiB"])
def test_a_full_disk_is_one_message_and_the_run_goes_on_after_space_is_freed(
    tmp_path: Path, learner_base: Path, finished_toy: Path, room: str
) -> None:
    write_toy(tmp_path / "toy", learner_base)
    if room == "a disk of 1 MiB":
        size, fill, mend = "1m", "", "mount -o remount,size=16m ."
    else:
        left = room.removesuffix(" KB")
        fill = f"free=$(df --output=avail -k . | tail -1); head -c $(( (free - {left}) * 1024 )) /dev/zero > ballast"
        size, mend = "16m", "rm ballast"
    out = in_namespace(tmp_path, tmp_path / "toy", size, fill, mend)
    said = (out / "first.err").read_text()
    assert (out / "first.rc").read_text().strip() == "3", said
    assert said.count("error: ") == 1, said
    assert "disk full" in said
    assert "Traceback" not in said
    assert "fault of Luthier" not in said
    assert (out / "half.txt").read_text() == ""
    assert (out / "second.rc").read_text().strip() == "0", (out / "second.err").read_text()
    assert (out / "adapter").read_bytes() == (finished_toy / RUN / "train" / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_read_only_place_is_one_message(tmp_path: Path, learner_base: Path) -> None:
    write_toy(tmp_path / "toy", learner_base)
    out = in_namespace(tmp_path, tmp_path / "toy", "16m", "mount -o remount,ro .", "mount -o remount,rw .")
    said = (out / "first.err").read_text()
    assert (out / "first.rc").read_text().strip() == "3", said
    assert said.count("error: ") == 1
    assert "no permission" in said
    assert "Traceback" not in said
    assert (out / "second.rc").read_text().strip() == "0", (out / "second.err").read_text()
    assert os.access(out / "adapter", os.R_OK)
