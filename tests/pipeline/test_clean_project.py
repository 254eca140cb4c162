"""`data.clean` in a project: a stage between reading and splitting, and nothing at all where it is not given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.core.config import parse_yaml
from luthier.core.errors import UserError
from luthier.core.ledger import read_ledger
from luthier.core.records import read_records
from luthier.pipeline.project import Project, load_project
from luthier.pipeline.workspace import Workspace
from luthier.stages.data.split import Split
from toy_project import toy_rows, toy_settings

CLEAN = {"repairs": ["mojibake", "white_space"], "checks": [{"kind": "length", "min_words": 2, "roles": ["user"], "fate": "drop"}]}


def project(folder: Path, clean: Any = None) -> Workspace:
    folder.mkdir(exist_ok=True)
    rows = [*toy_rows(), ("short", "stolen"), ("the cafÃ© is  closed ", "late")]
    (folder / "rows.csv").write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in rows), encoding="utf-8")
    settings = toy_settings(folder / "base")
    if clean is not None:
        settings["data"]["clean"] = clean
    (folder / "luthier.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return Workspace.open(folder / "luthier.yaml")


def test_without_the_key_the_graph_and_its_keys_are_what_they_were(tmp_path: Path) -> None:
    graph = project(tmp_path).graph
    assert graph.clean is None
    assert "clean" not in graph.roles()
    assert graph.split.key() == Split(dataset=graph.rows, plan=project(tmp_path).project.split).key()


def test_the_stage_stands_between_reading_and_splitting(tmp_path: Path) -> None:
    workspace = project(tmp_path, CLEAN)
    assert list(workspace.graph.roles())[:4] == ["base", "rows", "clean", "split"]
    split = workspace.store.build(workspace.graph.split, workspace.project.execution)
    steps = {e.step for e in read_ledger(split.path / "ledger.jsonl")}
    assert steps == {"ingest", "clean", "split"}
    texts = {m.content for name in split.result.files.values() for r in read_records(split.path / name) for m in r.messages}
    assert "the café is  closed" in texts
    assert "short" not in texts
    assert split.result.ledger["dropped"] >= 1


def test_the_schema_of_the_project_names_every_repair_and_check(tmp_path: Path) -> None:
    text = json.dumps(Project.model_json_schema())
    assert all(f'"{word}"' in text for word in ("mojibake", "quality_rules", "min_letters", "set_aside"))


@pytest.mark.parametrize(
    ("clean", "said"),
    [
        ({"repairs": ["mojibak"]}, "did you mean `mojibake`"),
        ({"checks": ["languag"]}, "did you mean `language`"),
        ({"checks": [{"kind": "length", "min_word": 3}]}, "did you mean `min_words`"),
        ({"check": []}, "did you mean `checks`"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest_and_its_path(tmp_path: Path, clean: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as told:
        project(tmp_path, clean)
    assert "data.clean" in str(told.value)


def test_a_project_with_cleaning_is_the_same_after_it_was_written_out(tmp_path: Path) -> None:
    from luthier.pipeline.run import resolved_yaml

    workspace = project(tmp_path, CLEAN)
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "luthier.yaml").write_text(resolved_yaml(workspace, folder), encoding="utf-8")
    assert load_project(folder / "luthier.yaml").data.clean == workspace.project.data.clean
    assert parse_yaml((folder / "luthier.yaml").read_text(encoding="utf-8"), "resolved")["data"]["clean"]["checks"][0]["min_words"] == 2


def test_what_reading_found_is_told_once_and_as_what_was_before() -> None:
    from luthier.core.ledger import LedgerEntry
    from luthier.pipeline.report_data import told_once
    from luthier.report.sections import Finding

    def found(text: str, where: str) -> Finding:
        return Finding(level="warning", text=text, where=where)

    fates = {"f row 1": "changed", "f row 2": "dropped", "f row 3": "kept"}
    entries = [LedgerEntry("k", "k", row, step, fate) for row, fate in fates.items() for step in ("ingest", "clean")]  # type: ignore[arg-type]
    read = [found("mis-decoded", row) for row in fates] + [found("few rows", "file"), found("an e-mail address", "f row 3")]
    cleaned = [found("an e-mail address", "f row 3"), found("too short", "f row 2")]
    assert [(f.text, f.where) for f in told_once(read, cleaned, entries)] == [
        ("mis-decoded (before cleaning)", "f row 1"),
        ("mis-decoded", "f row 3"),
        ("few rows", "file"),
        ("an e-mail address", "f row 3"),
        ("too short", "f row 2"),
    ]
    assert told_once(read, (), ()) == tuple(read)
