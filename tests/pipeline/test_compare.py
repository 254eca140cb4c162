"""Any number of runs side by side: the figures are those of their artifacts, the tests those of a library, and nothing is left unsaid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from typer.testing import CliRunner, Result

import luthier
from luthier.cli.main import app
from luthier.core.errors import UserError
from luthier.pipeline.compare import _common, compare_runs, differences
from luthier.pipeline.workspace import Workspace
from luthier.report.compare_model import RunsComparison

TIMID = ("train.learning_rate=1e-6", "train.epochs=0.5", "name=timid")
TWIN = ("train.seed=7", "name=twin")
OTHER_SPLIT = ("split.seed=4", "train.epochs=0.5", "name=elsewhere")


@pytest.fixture(scope="module")
def project(finished_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project with runs 1 (toy), 2 (timid, learns nothing), 3 (twin of 1), 4 (other sealed rows) and 5 (failed)."""
    folder = tmp_path_factory.mktemp("compared") / "toy"
    shutil.copytree(finished_toy, folder, symlinks=True)
    for overrides in (TIMID, TWIN, OTHER_SPLIT):
        luthier.load(folder / "luthier.yaml", overrides=list(overrides)).run(reason="a comparison")
    with pytest.raises(UserError):
        luthier.load(folder / "luthier.yaml", overrides=["prepare.max_length=12", "name=stuck"]).run(reason="a comparison")
    return folder


def compared(project: Path, *names: str) -> RunsComparison:
    return compare_runs(Workspace.open(project / "luthier.yaml"), list(names), "a test")[0]


def call(monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(app, list(args))


def right(project: Path, number: int, name: str) -> np.ndarray:
    lines = (project / f".luthier/runs/{number:04d}-{name}/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return np.array([json.loads(line)["scores"]["accuracy"] for line in lines])


def test_every_pair_is_tested_as_the_libraries_test_it(project: Path) -> None:
    found = compared(project, "timid", "toy", "twin")
    scores = {f"run {n} ({name})": right(project, n, name) for n, name in ((1, "toy"), (2, "timid"), (3, "twin"))}
    assert [r.label for r in found.runs] == sorted(scores, key=lambda label: -scores[label].mean())
    ps = []
    for pair in found.pairs:
        a, b = scores[pair.first], scores[pair.second]
        table = [[np.sum((a == x) & (b == y)) for y in (1, 0)] for x in (1, 0)]
        ps.append(mcnemar(table, exact=True).pvalue)
        assert pair.p == pytest.approx(ps[-1])
        assert pair.effect == pytest.approx(a.mean() - b.mean())
    assert [p.adjusted for p in found.pairs] == pytest.approx(multipletests(ps, method="holm")[1])
    for run in found.runs:
        assert run.primary is not None
        assert (run.primary.value, run.primary.n) == (pytest.approx(scores[run.label].mean()), 42)


def test_the_groups_are_told_in_words_and_letters(project: Path) -> None:
    found = compared(project, "timid", "toy", "twin")
    words = " | ".join(found.words)
    assert "cannot be told apart on these 42 rows" in words
    assert "is better than run 2 (timid)" in words
    letters = {r.name: r.group_letters for r in found.runs}
    assert letters["toy"] == letters["twin"] != letters["timid"]
    assert not found.warnings


def test_only_the_settings_that_differ_are_listed(project: Path) -> None:
    found = compared(project, "1", "timid", "twin")
    assert [d.key for d in found.differences] == ["train.learning_rate", "train.epochs", "train.seed"]
    rates = found.differences[0].values
    assert (rates["run 1 (toy)"], rates["run 2 (timid)"]) == (0.01, 1e-6)


def test_a_setting_that_some_runs_do_not_have_is_left_out_of_them() -> None:
    found = differences({"a": {"m.kind": "lora", "m.rank": 8, "x": 1}, "b": {"m.kind": "full", "x": 1.0}, "c": None})
    assert [(d.key, d.values) for d in found] == [
        ("m.kind", {"a": "lora", "b": "full"}),
        ("m.rank", {"a": 8}),
        ("x", {"a": 1, "b": 1.0}),  # 1 and 1.0 are other settings: they are other keys
    ]


def test_runs_with_other_rows_are_compared_on_the_common_ones_and_it_is_said(project: Path) -> None:
    found = compared(project, "1", "elsewhere")
    keys = [
        {
            json.loads(line)["key"]: json.loads(line)["scores"]["accuracy"]
            for line in (folder / "predictions.jsonl").read_text().splitlines()
        }
        for folder in sorted((project / ".luthier/runs").glob("000[14]-*"))
    ]
    both = [key for key in keys[0] if key in keys[1]]
    assert 0 < len(both) < 42
    assert found.num_rows == len(both)
    assert any(f"compared on the {len(both)} rows that all answered" in w for w in found.warnings)
    by_name = {r.name: r for r in found.runs}
    for name, scores in zip(("toy", "elsewhere"), keys, strict=True):
        e = by_name[name].primary
        assert e is not None
        assert (e.value, e.n) == (pytest.approx(np.mean([scores[key] for key in both])), len(both))
        assert by_name[name].metrics["accuracy"].n == 42


def test_runs_without_a_common_row_are_refused() -> None:
    with pytest.raises(UserError, match=r"share sealed rows, got none .*a: 1; b: 1"):
        _common({"a": [{"key": "x", "reference": "1"}], "b": [{"key": "x", "reference": "2"}]})


def test_a_failed_and_a_running_run_are_shown_as_such_with_their_curves(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(project, folder, symlinks=True)
    workspace = Workspace.open(folder / "luthier.yaml", ("name=live", "train.seed=99"))
    number = workspace.database.new_run("live", workspace.graph.verdict.key())
    run, work = folder / f".luthier/runs/{number:04d}-live", folder / ".luthier/work" / workspace.graph.train.key()[:12]
    run.mkdir()
    work.mkdir()
    (run / "keys.json").write_text(json.dumps({"train": workspace.graph.train.key()}))
    line = '{"step": %d, "split": "train", "name": "loss", "value": %s}\n'
    (work / "metrics.jsonl").write_text(line % (1, "2.0") + line % (2, "NaN") + line % (3, "1.0") + '{"step": 4, "spl')
    found = compared(folder, "live", "stuck", "1", "timid")
    assert [r.name for r in found.runs] == ["toy", "timid", "live", "stuck"]
    assert [(p.step, p.value) for p in found.runs[2].curves] == [(1, 2.0), (2, None), (3, 1.0)]
    assert "run 6 (live) is running at step 3 and has no figure yet" in found.warnings
    assert any(w.startswith("run 5 (stuck) is failed and has no figure yet: ") for w in found.warnings)
    assert any("settings of run 6 (live)" in w for w in found.warnings)
    assert {name for pair in found.pairs for name in (pair.first, pair.second)} == {"run 1 (toy)", "run 2 (timid)"}


def test_a_run_of_another_project_is_given_by_its_folder(project: Path, finished_toy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(finished_toy, tmp_path / "other", symlinks=True))
    there = other / ".luthier/runs/0001-toy"
    found = compared(project, "timid", str(there), "latest")  # the newest is the failed one
    assert [r.label for r in found.runs] == ["other: run 1 (toy)", "run 2 (timid)", "run 5 (stuck)"]
    assert found.runs[0].primary is not None
    with pytest.raises(UserError, match="did you mean `0001-toy`"):
        compared(project, "1", str(there.with_name("0001-toi")))
    with pytest.raises(UserError, match=r"a run's folder is wanted.*PROJECT/.luthier/runs"):
        compared(project, "1", str(other))


def test_the_comparison_is_a_look_and_the_same_one_is_no_new_look(project: Path) -> None:
    once = compared(project, "1", "2", "3").looks
    assert compared(project, "1", "2", "3").looks == once
    assert compared(project, "3", "1", "2").looks == once


def test_a_new_comparison_needs_a_reason_which_is_kept(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(project, folder, symlinks=True)
    database, rows = Workspace.open(folder / "luthier.yaml").database, Workspace.open(folder / "luthier.yaml").graph.split.key()
    before = database.looks(rows)
    refused = call(monkeypatch, folder, "compare", "2", "3")
    assert (refused.exit_code, refused.stdout, database.looks(rows)) == (2, "", before)
    assert refused.stderr.count("each further one needs a reason, got none, after") == 1
    assert "%" not in refused.stderr
    told = call(monkeypatch, folder, "compare", "2", "3", "--reason", "which seed")
    assert (told.exit_code, database.looks(rows)) == (0, before + 1)
    assert database.list_looks(rows)[-1]["reason"] == "a comparison of run 2 (timid), run 3 (twin): which seed"
    assert call(monkeypatch, folder, "compare", "3", "2").exit_code == 1  # the same look from the other side
    assert database.looks(rows) == before + 1
    assert luthier.load(folder / "luthier.yaml").run().report.verdict.looks == 1  # the report of a run keeps what was so when it was made


WRONG: dict[str, tuple[list[str], str]] = {
    "no run": ([], "at least two different runs are wanted, got 0 runs (compare); its runs: 5 (stuck)"),
    "one run": (["1"], "at least two different runs are wanted, got 1 run (compare)"),
    "one run twice": (["1", "timid", "toy"], "run 1 twice"),
    "an unknown run": (["1", "timd"], "did you mean `timid`?"),
    "only one with figures": (["1", "stuck"], "the run must have reached its evaluation, got run 5 is failed"),
    "a page that is no page": (["1", "2", "--out", "page.txt"], "the page must be a new .html file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_word_is_one_message(project: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    args, words = WRONG[case]
    done = call(monkeypatch, project, "compare", *args)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def _with_task(project: Path, tmp_path: Path, **changes: Any) -> Path:
    folder = tmp_path / "toy"
    shutil.copytree(project, folder, symlinks=True)
    for name, value in changes.items():
        file = folder / ".luthier/runs/0002-timid/config.resolved.yaml"
        file.write_text(file.read_text().replace(f"{name}: classify", f"{name}: {value}"))
    return folder


def test_runs_of_different_tasks_are_refused(project: Path, tmp_path: Path) -> None:
    folder = _with_task(project, tmp_path, task="answer")
    with pytest.raises(UserError, match=r"same task, got run 1 \(toy\): classify; run 2 \(timid\): answer"):
        compared(folder, "1", "2")


def test_the_verb_gives_one_document_a_table_and_a_page(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "compare.html"
    done = call(monkeypatch, project, "compare", "1", "2", "3", "stuck", "--reason", "a page", "--out", str(page), "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["verdict"], document["page"]) == ("compare", None, str(page))
    assert [r["state"] for r in document["comparison"]["runs"]] == ["done", "done", "done", "failed"]
    for words in ("cannot be told apart", "train.learning_rate", "run 5 (stuck) is failed", "the page:"):
        assert words in done.stderr
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2 * 6  # both widths of: runs, three curves, two costs
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "run 5 (stuck)" in text
    assert call(monkeypatch, project, "compare", "1", "2", "--out", str(page)).exit_code == 2  # never overwritten
