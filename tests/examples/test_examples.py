"""Every shipped example, as it is shipped: it validates, and its whole flow runs at toy scale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from luthier.core.events import ignore
from luthier.pipeline.project import load_project
from luthier.pipeline.run import RunOptions, run
from luthier.pipeline.workspace import Workspace

REPO = Path(__file__).resolve().parents[2]
FILES = sorted(str(p.relative_to(REPO)) for p in REPO.glob("examples/*/luthier*.yaml"))
SMALL = (
    "split.train=40",
    "split.validation=8",
    "split.test=12",
    "prepare.max_length=null",
    "prepare.too_long=drop",
    "train.method.rank=2",
    "train.epochs=1",
    "train.evaluations=1",
    "train.train_sample=2",
    "execution.threads=1",
)


def test_there_are_examples() -> None:
    assert {"examples/banking-intents/luthier.yaml", "examples/entity-extraction/luthier.yaml"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_an_example_validates(file: str) -> None:
    project = load_project(REPO / file)
    assert project.objective.goal
    assert all(entry.licence for entry in project.data.files)


@pytest.mark.parametrize("file", FILES)
def test_an_example_runs_at_toy_scale(file: str, tmp_path: Path, roomy_base: Path, toy_encoder: Path) -> None:
    shutil.copytree((REPO / file).parent, tmp_path / "project", ignore=shutil.ignore_patterns(".luthier"))
    path = tmp_path / "project" / Path(file).name
    data = yaml.safe_load(path.read_text())
    decoding = ("evaluate.decoding.max_new_tokens=4",) if "extraction" in file else ()
    if data["base"] == "minilm-l6":
        base = (f"base={toy_encoder}",)
    else:
        base = (f"base={roomy_base}", f"evaluate.baselines={json.dumps(data['evaluate']['baselines'][:1])}")
    overrides = (*SMALL, *decoding, *base)
    outcome = run(Workspace.open(path, overrides), RunOptions(ignore, lambda: False))
    assert outcome.report.verdict.num_rows == 12
    assert (outcome.folder / "report.html").stat().st_size > 10_000
    assert len((outcome.folder / "predictions.jsonl").read_text().splitlines()) == 12
