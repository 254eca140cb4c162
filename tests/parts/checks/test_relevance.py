"""Relevance: conformal p-values against their definition and their promise, and rows about something else among banking questions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_unlike_the_others import ELSEWHERE, QUESTIONS, rows

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.core.keys import SourceFile, canonical
from luthier.parts.checks.contract import RecordsCheck
from luthier.parts.checks.discover import find_checks
from luthier.parts.checks.relevance import Relevance, conformal_p
from luthier.parts.checks.steps import load_step, step_from_text
from luthier.pipeline.project import load_project


def points(num: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(num, 6)).astype(np.float32) + np.float32(1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def defined_p(known: np.ndarray, row: np.ndarray, neighbours: int) -> float:
    """Straight from the definition: every row of the bag scored by its nearest in the bag, one at a time."""
    bag = np.concatenate([known, row[None]]).astype(np.float64)
    scores = [np.sort(np.delete(bag @ one, i))[-neighbours:].mean() for i, one in enumerate(bag)]
    return sum(score <= scores[-1] + 1e-6 for score in scores) / len(bag)


@pytest.mark.parametrize("cells", [1, 40 * 7, 1 << 22])
def test_the_p_values_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr("luthier.parts.checks.relevance._CELLS", cells)
    known, judged = points(40, 1), np.concatenate([points(20, 2), -points(3, 3)])
    found = conformal_p(known, judged, 3)
    np.testing.assert_allclose(found, [defined_p(known, row, 3) for row in judged], atol=1e-12)
    assert (found[-3:] == 1 / 41).all()


@pytest.mark.parametrize("neighbours", [1, 5])
def test_no_more_than_the_share_is_flagged_whichever_row_of_a_bag_is_judged(neighbours: int) -> None:
    bag = points(60, 4)
    values = np.array([conformal_p(np.delete(bag, i, axis=0), bag[i : i + 1], neighbours)[0] for i in range(len(bag))])
    for share in (1 / 60, 0.05, 0.1, 0.5, 0.9):
        assert (values <= share).mean() <= share
    assert (values <= 0.5).mean() > 0.4  # and it is no empty promise


def reference(folder: Path, texts: Sequence[object], column: str = "text") -> Path:
    path = folder / "task.jsonl"
    path.write_text("".join(json.dumps({column: text}) + "\n" for text in texts), encoding="utf-8")
    return path


def test_a_row_about_something_else_is_unlike_the_rows_of_the_task(tmp_path: Path) -> None:
    path = reference(tmp_path, QUESTIONS[:10], "question")
    check = parse_config(Relevance, {"to": {"path": str(path)}, "columns": ["question"], "share": 0.1, "neighbours": 3})
    found = check(rows(*QUESTIONS[10:], ELSEWHERE))
    assert [f.row for f in found] == [2]
    assert found[0].reason.startswith("unlike the 10 rows of the task: 0.091 of them")
    assert found[0].score == pytest.approx(10 / 11)
    assert check([]) == []


def test_a_row_about_something_else_is_far_from_the_description() -> None:
    check = Relevance(to="Questions of a bank's customers about their cards, accounts and transfers.")
    (found,) = check(rows(*QUESTIONS, ELSEWHERE))
    assert found.row == len(QUESTIONS)
    assert "far from the task's description: cosine" in found.reason


def test_what_a_file_of_the_task_must_be(tmp_path: Path) -> None:
    for texts, column, options, said in (
        (QUESTIONS, "text", {}, "to flag a share of 0.01 takes 99 rows of the task"),
        (QUESTIONS, "text", {"share": 0.5, "neighbours": 20}, "takes 21 rows of the task"),
        (QUESTIONS, "question", {}, "no `text` .*question|question.*"),
        ([7], "text", {}, "int in `text`"),
    ):
        check = parse_config(Relevance, {"to": {"path": str(reference(tmp_path, texts, column))}, **options})
        with pytest.raises(UserError, match=said):
            check(rows(*QUESTIONS))
    (tmp_path / "task.jsonl").write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(UserError, match="every row of the task must be readable"):
        parse_config(Relevance, {"to": {"path": str(tmp_path / "task.jsonl")}})(rows(*QUESTIONS))


def test_it_is_named_in_a_project_and_never_stands_by_itself() -> None:
    assert "relevance" not in find_checks(RecordsCheck)
    assert step_from_text("{kind: relevance, to: {path: rows.csv}, columns: [body], fate: warn}").to.path == "rows.csv"  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="to"):
        load_step("relevance")


def test_a_projects_file_is_read_beside_it_and_its_bytes_are_in_the_key(tmp_path: Path) -> None:
    reference(tmp_path, QUESTIONS)
    (tmp_path / "rows.csv").write_text("text,label\na,b\n", encoding="utf-8")
    check = {"kind": "relevance", "to": {"path": "task.jsonl"}, "share": 0.1}
    body = {
        "name": "p",
        "objective": {"task": "classify", "goal": "g"},
        "base": "minilm-l6",
        "data": {
            "files": ["rows.csv"],
            "mapping": {"kind": "classification", "text": "text", "label": "label"},
            "clean": {"checks": ["conflicts", check]},
        },
    }
    (tmp_path / "luthier.yaml").write_text(json.dumps(body), encoding="utf-8")
    project = load_project(tmp_path / "luthier.yaml")
    assert project.data.clean is not None
    assert project.data.clean.checks[1].to == SourceFile(path=str(tmp_path / "task.jsonl"))  # type: ignore[attr-defined]
    first = canonical(project.data.clean)
    assert str(tmp_path) not in json.dumps(first)
    reference(tmp_path, QUESTIONS[1:])
    assert canonical(project.data.clean) != first
