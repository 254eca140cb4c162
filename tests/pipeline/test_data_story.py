"""`data why`, `data freeze` and the sides of `data diff` on a finished project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.core.errors import UserError
from luthier.core.ledger import read_ledger
from luthier.pipeline.data_story import Story, folders_of, stories_of
from luthier.pipeline.data_versions import freeze, side_of
from luthier.pipeline.workspace import Workspace
from luthier.stages.data.compare_rows import compare
from toy_project import toy_rows, toy_settings


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project with cleaning whose data has been divided."""
    rows = [*toy_rows(), ("the cafÃ© is closed", "late"), ("word", "late"), ("", "late")]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in rows), encoding="utf-8")
    settings = toy_settings(tmp_path / "base", split={"validation": 18, "test": 42, "seed": 3})
    settings["data"]["clean"] = {"checks": [{"kind": "length", "min_words": 2, "roles": ["user"]}]}
    (tmp_path / "luthier.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    space = Workspace.open(tmp_path / "luthier.yaml")
    space.store.build(space.graph.split, space.project.execution)
    return space


def one(workspace: Workspace, row: str) -> Story:
    found = stories_of(folders_of(workspace, None), row)
    assert len(found) == 1
    return found[0]


def fates(story: Story) -> list[tuple[str, str]]:
    return [(e.step, e.fate) for e in story.steps]


def test_a_row_is_followed_from_its_place_to_its_split(workspace: Workspace) -> None:
    story = one(workspace, "rows.csv:121")
    assert fates(story)[:2] == [("ingest", "kept"), ("clean", "changed")]
    assert len(story.keys) == 2
    assert [(c["step"], c["before"], c["after"]) for c in story.changes] == [("mojibake", "the cafÃ© is closed", "the café is closed")]
    assert [f["check"] for f in story.findings] == ["mojibake"]
    for name in (*story.keys, story.keys[0][:8], "rows.csv row 121"):
        assert one(workspace, name) == story


def test_rows_that_went_have_a_story_too(workspace: Workspace) -> None:
    assert fates(one(workspace, "rows.csv:122")) == [("ingest", "kept"), ("clean", "set_aside")]
    assert "too short" in one(workspace, "rows.csv:122").steps[-1].reason
    assert fates(one(workspace, "rows.csv:123")) == [("ingest", "set_aside")]
    assert one(workspace, "rows.csv:123").keys == ("",)


def test_a_row_that_is_not_there_is_told_with_an_example(workspace: Workspace) -> None:
    for name in ("rows.csv:9999", "abcdef0123456789", "other.csv:1", ""):
        with pytest.raises(UserError, match=r"a row of this data is wanted.*rows.csv:1"):
            stories_of(folders_of(workspace, None), name)


def test_nothing_is_built_for_a_story(tmp_path: Path, workspace: Workspace) -> None:
    shutil.rmtree(tmp_path / ".luthier")
    with pytest.raises(UserError, match="luthier data show"):
        folders_of(Workspace.open(tmp_path / "luthier.yaml"), None)


@pytest.fixture
def finished(finished_toy: Path, tmp_path: Path) -> Path:
    """The project file of a copy of the finished toy project."""
    shutil.copytree(finished_toy, tmp_path / "toy", symlinks=True)
    return tmp_path / "toy" / "luthier.yaml"


def test_the_answers_of_a_finished_run_belong_to_the_story(finished: Path) -> None:
    workspace = Workspace.open(finished)
    folders = folders_of(workspace, "1")
    test = next(e for e in read_ledger(folders["split"] / "ledger.jsonl") if e.step == "split" and e.reason == "test")
    story = stories_of(folders, test.key)[0]
    assert [a["model"] for a in story.answers] == ["baseline", "tuned"]
    assert all(set(a["scores"]) >= {"accuracy"} for a in story.answers)
    assert story == stories_of(folders_of(workspace, None), test.key)[0]


def change(workspace: Workspace, **clean: Any) -> Workspace:
    settings = yaml.safe_load(workspace.file.read_text(encoding="utf-8"))
    settings["data"]["clean"] = clean
    workspace.file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Workspace.open(workspace.file)


def test_versions_are_only_ever_added(workspace: Workspace) -> None:
    key = workspace.graph.split.key()
    first, again = freeze(workspace, "clean", key), freeze(workspace, "clean", key)
    assert (first.version, first.known) == ("clean@1", False)
    assert (again.version, again.known) == ("clean@1", True)
    other = change(workspace, repairs=[])
    built = other.store.build(other.graph.split, other.project.execution)
    assert freeze(other, "clean", built.key).version == "clean@2"
    a, b = side_of("clean@1", other.file), side_of("clean", other.file)
    assert (a.name, b.name) == ("clean@1", "clean@2")
    got = compare(a, b)
    assert {r.messages[-2].content for r in got.added} | {c.after.messages[-2].content for c in got.changed} >= {"word"}
    with pytest.raises(UserError, match=r"clean@\d"):
        side_of("clean@7", other.file)
    with pytest.raises(UserError, match="letters, digits"):
        freeze(workspace, "a/b", key)


def test_sides_of_files_and_runs(finished: Path, tmp_path: Path) -> None:
    project = finished
    run, file = side_of("1", project), side_of(str(finished.parent / "rows.csv"), project)
    assert (run.name, len(run.rows), set(run.splits)) == ("run 1", 120, {"train", "validation", "test"})
    assert len(file.rows) == 120
    assert compare(run, side_of("toy", project)).same == 120
    for name, said in (
        ("none.csv", "the data file must exist"),
        ("nobody", "a run of this project is wanted"),
        ("9", "a run of this project"),
    ):
        with pytest.raises(UserError, match=said):
            side_of(name, project)
    with pytest.raises(UserError, match="a run or version of a project"):
        side_of("1", tmp_path / "luthier.yaml")


def test_the_database_lists_the_numbers_of_a_name(workspace: Workspace) -> None:
    assert workspace.database.aliases("data/none") == {}
    freeze(workspace, "v", workspace.graph.split.key())
    assert workspace.database.aliases("data/v") == {1: workspace.graph.split.key()}
