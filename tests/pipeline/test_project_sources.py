"""Sources in a project file: the forms in which they are written, what re-runs when they change, and what the report says of them."""

from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.core.ledger import read_ledger
from luthier.parts.origins.archive import Archive
from luthier.parts.origins.hub import Hub
from luthier.parts.origins.sql import Sql
from luthier.parts.origins.url import Url
from luthier.pipeline.project import load_project
from luthier.pipeline.run import resolved_yaml
from luthier.pipeline.sources import locate
from luthier.pipeline.workspace import Workspace
from toy_project import toy_rows, toy_settings

QUERY = "SELECT text, label FROM tickets ORDER BY id"


def project(folder: Path, *files: Any) -> Workspace:
    folder.mkdir(exist_ok=True)
    settings = toy_settings(folder / "base")
    settings["data"]["files"] = list(files)
    (folder / "luthier.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Workspace.open(folder / "luthier.yaml")


def write_database(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with sqlite3.connect(folder / "shop.db") as c:
        c.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, text TEXT, label TEXT, seen TEXT)")
        c.executemany("INSERT INTO tickets (text, label) VALUES (?, ?)", toy_rows())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3://bucket/rows.jsonl", Url(url="s3://bucket/rows.jsonl")),
        ({"path": "https://example.com/rows.csv"}, Url(url="https://example.com/rows.csv")),
        ({"url": {"url": "s3://b/x", "options": {"anon": True}}}, Url(url="s3://b/x", options={"anon": True})),
        ({"sql": {"url": "sqlite:///shop.db", "query": QUERY}}, Sql(url="sqlite:///shop.db", query=QUERY)),
        ({"source": {"kind": "sql", "url": "sqlite:///shop.db", "query": QUERY}}, Sql(url="sqlite:///shop.db", query=QUERY)),
        ({"hub": "org/name"}, Hub(name="org/name")),
        ({"hub": {"name": "org/name", "split": "train"}}, Hub(name="org/name", split="train")),
        ({"path": "rows.tar.gz"}, Archive(path="rows.tar.gz")),
        ({"archive": {"path": "rows.zip", "member": "a/*"}}, Archive(path="rows.zip", member="a/*")),
    ],
)
def test_every_way_to_write_a_source_is_the_one_long_form(tmp_path: Path, written: Any, meant: object) -> None:
    for name in ("rows.tar.gz", "rows.zip"):
        (tmp_path / name).touch()
    assert project(tmp_path, written).project.data.files[0].source == meant


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"sql": {"url": "sqlite:///shop.db", "query": "DROP TABLE t"}}, r"begins with DROP.*data\.files\.0\.source"),
        ({"sql": {"url": "sqlite:///shop.db", "qery": QUERY}}, "did you mean `query`"),
        ({"source": {"kind": "sqll"}}, "sql"),
        ({"path": "a.csv", "source": {"kind": "hub", "name": "x"}}, "a path or a source must be given, and not both"),
        ({"split": "train"}, "a path or a source must be given"),
        ({"path": "none.zip"}, "the data file must exist, got none.zip"),
        ({"url": "https://bob:hunter2@h/x"}, "must not stand in the project file"),
    ],
)
def test_a_wrong_source_is_told_with_its_place(tmp_path: Path, written: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as err:
        project(tmp_path, written)
    assert "hunter2" not in str(err.value)


def test_a_source_that_changed_is_read_again_and_one_that_did_not_is_not(tmp_path: Path) -> None:
    write_database(tmp_path / "p")
    entry = {"sql": {"url": "sqlite:///shop.db", "query": QUERY}, "licence": "CC0-1.0"}
    first = project(tmp_path / "p", entry)
    built = first.store.build(first.graph.rows, Execution())
    assert built.result.counts == {"any": 120}
    assert {e.source for e in read_ledger(built.path / "ledger.jsonl")} == {f"query.jsonl line {i}" for i in range(1, 121)}
    with sqlite3.connect(tmp_path / "p" / "shop.db") as c:
        c.execute("UPDATE tickets SET seen = 'yes'")  # the file changes, the rows do not
    again = project(tmp_path / "p", entry)
    assert again.store.is_built(again.graph.rows)
    assert again.graph.rows.key() == first.graph.rows.key()
    with sqlite3.connect(tmp_path / "p" / "shop.db") as c:
        c.execute("UPDATE tickets SET text = text || ' please' WHERE id = 3")
    changed = project(tmp_path / "p", entry)
    assert changed.graph.rows.key() != first.graph.rows.key()
    assert not changed.store.is_built(changed.graph.rows)


def test_a_resolved_project_in_another_folder_has_the_same_rows(tmp_path: Path) -> None:
    write_database(tmp_path / "p")
    with zipfile.ZipFile(tmp_path / "p" / "more.zip", "w") as z:
        z.writestr("a.csv", "text,label\n" + "".join(f"{t} too,{label}\n" for t, label in toy_rows(2)))
        z.writestr("b.csv", "text,label\n" + "".join(f"{t} also,{label}\n" for t, label in toy_rows(2)))
    whole = project(tmp_path / "p", {"sql": {"url": "sqlite:///shop.db", "query": QUERY}}, "more.zip")
    run = tmp_path / "p" / ".luthier" / "runs" / "0001-toy"
    run.mkdir(parents=True)
    (run / "config.resolved.yaml").write_text(resolved_yaml(whole, run), encoding="utf-8")
    there = Workspace(run / "config.resolved.yaml", load_project(run / "config.resolved.yaml"))
    assert there.graph.rows.key() == whole.graph.rows.key()
    named = [(f.shown, f.path.name) for f in locate(whole.project, whole.root, whole.home)]
    assert named == [(f"sqlite:///shop.db: {QUERY}", "query.jsonl"), ("more.zip, a.csv", "a.csv"), ("more.zip, b.csv", "b.csv")]


def test_class_names_of_a_hub_set_are_announced(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["card", "cash", "rate"])})
    rows = {"text": [t for t, _ in toy_rows()], "label": [features["label"].str2int(label) for _, label in toy_rows()]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "p" / "saved"))
    workspace = project(tmp_path / "p", {"hub": "saved"})
    built = workspace.store.build(workspace.graph.rows, Execution())
    assert built.result.labels == ("card", "cash", "rate")
    assert "the numbers of column label were turned into the names of its classes" in (built.path / "findings.json").read_text()
