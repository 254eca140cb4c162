"""docs/evaluation.md holds the figures of the newest results and no others; the sets' project files are valid."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from doc_blocks import REPO

from luthier.core.config import parse_config
from luthier.pipeline.project import Project


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO / "benchmarks"))
    for name in ("evaluation_page", "evaluation_plots", "evaluation_sets"):
        sys.modules.pop(name, None)


def test_the_page_is_what_the_newest_results_give(tmp_path: Path) -> None:
    from evaluation_page import BEGIN, newest, write_page

    page = REPO / "docs" / "evaluation.md"
    shutil.copy(page, tmp_path)
    write_page(REPO / "benchmarks" / "results", tmp_path)
    assert (tmp_path / "evaluation.md").read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), "run `make evaluation`"
    names = {f"{found['set']}.svg" for found in newest(REPO / "benchmarks" / "results")} | {"overview.svg"}
    assert {p.name for p in (tmp_path / "evaluation").iterdir()} == names == {p.name for p in (REPO / "docs" / "evaluation").iterdir()}
    before, after = page.read_text(encoding="utf-8").split(BEGIN)
    assert "| set |" in after
    assert "|" not in before


def test_each_set_is_a_project(shared_data: Path) -> None:
    from evaluation_sets import SETS, settings

    assert len(SETS) == 8
    for chosen in SETS.values():
        project = parse_config(Project, settings(chosen, shared_data / "data" if (shared_data / "data").is_dir() else shared_data))
        assert project.objective.primary().higher_is_better
        assert len(project.evaluate.baselines) == 2
