"""`luthier train --profile` on the toy project: the document, the trace, and nothing else changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from toy_project import luthier


def kept(folder: Path) -> set[str]:
    """Artifacts, and what is left of work on them."""
    return {str(p) for place in ("artifacts", "work", "runs") for p in (folder / ".luthier" / place).iterdir()}


def test_profile_leaves_the_run_as_it_was(finished_toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(finished_toy, folder)
    before = kept(folder)
    done = luthier(folder, "train", "--profile", "--profile-steps", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["version"], found["steps"]) == ("profile", 1, 1)
    assert abs(sum(p["share"] for p in found["parts"]) - 1) < 1e-6
    assert "ui.perfetto.dev" in done.stderr
    assert "R = limit / step" in done.stderr
    trace = Path(found["trace"]) if Path(found["trace"]).is_absolute() else folder / found["trace"]
    assert json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    assert trace.parent.parent == folder / ".luthier" / "profiles"
    assert kept(folder) == before


def test_profile_of_the_reference_engine(finished_toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(finished_toy, folder)
    done = luthier(folder, "train", "--profile", "--profile-steps", "1", "--json", "execution.engine=reference")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engine"] == "reference"


def test_harness_says_what_is_wrong(finished_toy: Path) -> None:
    done = luthier(finished_toy, "harness", "smollm2-135m-instruct", "--tasks", "hellaswagg")
    assert done.returncode == 2
    assert "hellaswag" in done.stderr
    assert "Traceback" not in done.stderr


def test_harness_runs_a_task_of_ones_own(finished_toy: Path, toy_base: Path, tmp_path: Path) -> None:
    rows = [
        {"q": "my card was", "choices": ["stolen", "late", "wrong"], "a": 0},
        {"q": "the rate is", "choices": ["late", "wrong", "it"], "a": 1},
    ]
    (tmp_path / "rows.json").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    task = {
        "task": "own_choices",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.json")}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "choices",
        "doc_to_target": "a",
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "own.yaml").write_text(json.dumps(task), encoding="utf-8")
    done = luthier(finished_toy, "harness", str(toy_base), "--tasks", "own_choices", "--include-path", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "harness"
    assert 0.0 <= found["results"]["own_choices"]["acc,none"] <= 1.0
