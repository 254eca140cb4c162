"""Two runs at once on one project: the second says who is at work, or waits, and nothing is built twice."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from toy_project import luthier, start, write_toy


def wait_for(folder: Path, pattern: str) -> None:
    limit = time.monotonic() + 120
    while not any((folder / ".luthier").glob(pattern)):
        assert time.monotonic() < limit, f"{pattern} never appeared"
        time.sleep(0.01)


def test_the_second_one_says_who_holds_the_lease_or_waits(tmp_path: Path, learner_base: Path) -> None:
    write_toy(
        tmp_path, learner_base, train={"epochs": 40, "batch_size": 8, "learning_rate": 0.01, "early_stopping": None, "evaluations": 1}
    )
    first = start(tmp_path, "run")
    wait_for(tmp_path, "work/*/scratch/checkpoints/step-*")
    refused = luthier(tmp_path, "run")
    assert refused.returncode == 3
    assert f"being built by process {first.pid} of " in refused.stderr
    assert "last heartbeat" in refused.stderr
    assert "--wait" in refused.stderr
    assert "Traceback" not in refused.stderr
    other = luthier(tmp_path, "train")
    assert (other.returncode, f"process {first.pid}" in other.stderr) == (3, True)
    waited = luthier(tmp_path, "run", "--wait", "--json")
    assert first.wait(timeout=120) in (0, 1)
    document = json.loads(waited.stdout)
    assert (document["run"], document["cached"]) == (1, True)
    runs = json.loads(luthier(tmp_path, "show", "--json").stdout)["runs"]
    assert [(r["number"], r["state"]) for r in runs] == [(1, "done")]
    said = (tmp_path / "out.txt").read_text() + waited.stderr
    assert said.count("built train ") == 1


def test_a_dead_holder_holds_nothing(tmp_path: Path, learner_base: Path) -> None:
    write_toy(tmp_path, learner_base)
    first = start(tmp_path, "run")
    wait_for(tmp_path, "work/*/scratch")
    first.kill()
    first.wait()
    assert any((tmp_path / ".luthier" / "work").glob("*.lease.json"))
    assert luthier(tmp_path, "run").returncode == 0
    assert not any((tmp_path / ".luthier" / "work").glob("*.lease.json"))


def test_two_different_runs_share_what_they_have_in_common(tmp_path: Path, learner_base: Path) -> None:
    write_toy(tmp_path, learner_base)
    one = start(tmp_path, "run", "--wait", "--reason", "one of two")
    other = luthier(tmp_path, "run", "--wait", "train.seed=14", "name=other", "--reason", "another seed")
    assert one.wait(timeout=120) in (0, 1)
    assert other.returncode in (0, 1), other.stderr
    stages = [p.name.partition("-")[0] for p in (tmp_path / ".luthier" / "artifacts").iterdir()]
    assert sorted(stages) == sorted(
        ["base", "ingest", "split", "prepare", "chooseprompting", "evaluate", "train", "train", "evaluate", "evaluate", "judge", "judge"]
    )
    said = (tmp_path / "out.txt").read_text() + other.stderr
    assert said.count("built chooseprompting ") == 1
    assert os.listdir(tmp_path / ".luthier" / "runs").__len__() == 2
