"""Licences, consent and provenance in a project: a conflict stops every command, an unknown is said, the data card shows it all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.parts.legal.fit import IntendedUse, licence_fit
from luthier.pipeline.project import doubts_of_base, load_project
from luthier.pipeline.report_data import rights_of
from toy_project import toy_rows, toy_settings

USE = {"commercial": True, "redistribution": False}


def write(folder: Path, use: Any, **rights: Any) -> Path:
    (folder / "rows.csv").write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in toy_rows()), encoding="utf-8")
    settings = toy_settings(folder / "base")
    settings["data"]["files"] = [{"path": "rows.csv", **rights}]
    settings["objective"]["use"] = use
    (folder / "luthier.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder / "luthier.yaml"


@pytest.mark.parametrize("verb", ["plan", "run", "train"])
def test_a_conflict_stops_the_command_with_reason_and_fix(tmp_path: Path, verb: str) -> None:
    file = write(tmp_path, USE, licence="CC-BY-NC-4.0")
    done = CliRunner().invoke(app, [verb, "--file", str(file)])
    assert done.exit_code == 2
    assert done.stderr == (
        "error: each source must allow the intended use (commercial, not passed on), got rows.csv: its licence CC-BY-NC-4.0 does not allow "
        "commercial use (data.files, objective.use); leave the source out, state a `permission` that you have, or correct objective.use\n"
    )
    assert not (tmp_path / ".luthier").exists()


def test_what_is_not_known_is_said_by_the_plan(tmp_path: Path) -> None:
    file = write(tmp_path, USE, licence="CC BY")
    done = CliRunner().invoke(app, ["plan", "--file", str(file), "--json"])
    said = " | ".join(json.loads(done.stdout)["advice"])
    assert "rows.csv: the licence 'CC BY' is not known: it may not allow the intended use (commercial, not passed on)" in said
    assert "rows.csv: not known: consent, provenance; state consent and provenance beside its licence" in said
    file = write(tmp_path, None)
    done = CliRunner().invoke(app, ["plan", "--file", str(file), "--json"])
    assert "the intended use is not stated" in done.stdout


def test_a_source_in_order_is_said_nothing_of(tmp_path: Path) -> None:
    rights = {"licence": "CC-BY-4.0", "consent": "not_needed", "provenance": "https://example.com/rows"}
    file = write(tmp_path, USE, **rights)
    said = json.loads(CliRunner().invoke(app, ["plan", "--file", str(file), "--json"]).stdout)["advice"]
    assert not [line for line in said if "rows.csv" in line or "intended use" in line]
    assert rights_of(load_project(file).data.files[0]) == {**rights, "permission": None}


def with_base(folder: Path, base: Path, licence: str, **more: Any) -> Path:
    """The toy project on a copy of `base` whose model card names a licence."""
    shutil.copytree(base, folder / "base")
    (folder / "base" / "README.md").write_text(f"---\nlicense: {licence}\n---\n", encoding="utf-8")
    file = write(folder, USE, licence="CC0-1.0", consent="not_needed", provenance="made up")
    file.write_text(file.read_text(encoding="utf-8") + yaml.safe_dump(more) if more else file.read_text(encoding="utf-8"), encoding="utf-8")
    return file


def test_a_base_whose_licence_forbids_the_use_is_refused_before_anything_is_trained(tmp_path: Path, learner_base: Path) -> None:
    file = with_base(tmp_path, learner_base, "cc-by-nc-4.0")
    for verb in ("run", "train"):
        done = CliRunner().invoke(app, [verb, "--file", str(file)])
        assert done.exit_code == 2
        assert (
            "the base must allow the intended use (commercial, not passed on), got base: its licence cc-by-nc-4.0 does not allow"
            in done.stderr
        )
        assert "state the `base_permission` that you have" in done.stderr
    assert not list((tmp_path / ".luthier" / "artifacts").glob("ingest-*"))
    told = json.loads(CliRunner().invoke(app, ["plan", "--file", str(file), "--json"]).stdout)["advice"]
    assert any("a run would stop at once: the base must allow the intended use" in line for line in told)


def test_a_permission_for_the_base_is_enough(tmp_path: Path, learner_base: Path) -> None:
    file = with_base(tmp_path, learner_base, "cc-by-nc-4.0", base_permission="from its makers, 2026-01-01")
    assert doubts_of_base(load_project(file), "base", "cc-by-nc-4.0") == ()


@pytest.mark.parametrize(
    ("licence", "fits", "words"),
    [
        ("Apache-2.0", True, "allowed"),
        ("cc-by-nc-4.0", False, "its licence cc-by-nc-4.0 does not allow commercial use"),
        ("unknown", None, "no licence is stated: it may not allow the intended use (commercial, not passed on)"),
        ("llama3", None, "the licence 'llama3' is not known: it may not allow the intended use (commercial, not passed on)"),
    ],
)
def test_whether_a_base_fits_the_use(licence: str, fits: bool | None, words: str) -> None:
    assert licence_fit(licence, IntendedUse(commercial=True, redistribution=False)) == (fits, words)
    assert licence_fit(licence, None) == (None, "not stated")
