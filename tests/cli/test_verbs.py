"""Every verb on the finished toy project: its exit code, and one machine-readable document on stdout with `--json`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from toy_project import environment, luthier

ADAPTER = ".luthier/runs/0001-toy/train/adapter"
VERBS = {
    "run": (["run"], 0, "run"),
    "plan": (["plan"], 0, "plan"),
    "train": (["train"], 0, "train"),
    "eval": (["eval"], 0, "eval"),
    "eval test": (["eval", "--split", "test"], 0, "eval"),
    "show": (["show"], 0, "runs"),
    "show artifacts": (["show", "artifacts"], 0, "artifacts"),
    "show run by number": (["show", "1"], 0, "show_run"),
    "show run by name": (["show", "toy"], 0, "show_run"),
    "chat with a run": (["chat", "1", "--prompt", "now my stolen", "--max-new-tokens", "8"], 0, "chat"),
    "chat with an adapter": (["chat", ADAPTER, "--prompt", "now my stolen", "--max-new-tokens", "8"], 0, "chat"),
    "data show": (["data", "show", "--rows", "2"], 0, "data_show"),
    "data check": (["data", "check", "rows.csv"], 0, "data_check"),
    "data duplicates": (["data", "duplicates", "rows.csv"], 0, "data_duplicates"),
    "data labels": (["data", "labels", "rows.csv"], 0, "data_labels"),
    "data pii": (["data", "pii", "rows.csv"], 0, "data_pii"),
    "models list": (["models", "list"], 0, "models"),
    "export": (["export", "1", "--to", "peft", "--out", "exported", "--force"], 0, "exported"),
    "doctor": (["doctor"], 0, "doctor"),
}


@pytest.fixture(scope="module")
def project(finished_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs") / "toy"
    shutil.copytree(finished_toy, folder, symlinks=True)
    return folder


def call(monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> Any:
    """The verb in this process, in `folder`; stdout and stderr apart."""
    monkeypatch.chdir(folder)
    return CliRunner().invoke(app, list(args))


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_one_document_with_kind_and_version(project: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    args, code, kind = VERBS[verb]
    done = call(monkeypatch, project, *args, "--json")
    assert done.exit_code == code, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["version"]) == (kind, 1)


@pytest.mark.parametrize("verb", [v for v in VERBS if not v.startswith("chat")])
def test_without_json_stdout_is_empty_and_people_read_stderr(project: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    args, code, _ = VERBS[verb]
    done = call(monkeypatch, project, *args)
    assert done.exit_code == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.strip()


def test_a_subprocess_keeps_stdout_to_the_document(project: Path) -> None:
    done = luthier(project, "eval", "--json")
    assert json.loads(done.stdout)["predictions"]["split"] == "validation"
    assert "Traceback" not in done.stderr


def test_plan_estimates_time_memory_energy_and_disk(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the prepared rows: more epochs take more work, a limit is kept, and what cannot fit is refused before anything runs."""

    def estimate(*words: str) -> Any:
        return json.loads(call(monkeypatch, project, "plan", "train.seed=99", *words, "--json").stdout)["estimate"]

    once, twice = estimate("train.epochs=1"), estimate("train.epochs=2")
    assert twice["flops"] == pytest.approx(2 * once["flops"], rel=0.02)
    assert twice["optimiser_steps"] == 2 * once["optimiser_steps"] > 0
    assert once["gemm_flops_per_second"] == twice["gemm_flops_per_second"]  # measured once, then kept
    low, high = once["minutes"]
    assert 0 < low < high
    assert low * 60 > once["flops"] / once["gemm_flops_per_second"]
    assert 0.3 < once["peak_memory_gb"] < 1.0
    assert estimate("execution.memory_gb=0.5")["memory_limit_gb"] == 0.5
    refused = call(monkeypatch, project, "plan", "train.seed=99", "execution.memory_gb=0.01")
    assert refused.exit_code == 2
    assert "the model must fit 0.0 GB of memory" in refused.stderr
    assert json.loads(call(monkeypatch, project, "plan", "--json").stdout)["estimate"] is None


def test_plan_says_what_is_built_and_what_is_not(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(call(monkeypatch, project, "plan", "train.seed=99", "--json").stdout)
    states = {step["role"]: step["state"] for step in document["steps"]}
    assert [role for role, state in states.items() if state == "to build"] == ["train", "tuned", "side_effects", "verdict"]
    assert all(len(step["key"]) == 64 for step in document["steps"])
    assert any("60 train" in line for line in document["advice"])


def test_train_gives_the_adapter_of_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(call(monkeypatch, project, "train", "--json").stdout)
    assert document["cached"]
    assert Path(document["folder"]).resolve() == (project / ".luthier/runs/0001-toy/train").resolve()
    assert document["checkpoint"]["steps"] == 32


def test_eval_on_validation_is_no_look_and_on_test_is_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(call(monkeypatch, project, "eval", "--json").stdout)["looks"] is None
    assert json.loads(call(monkeypatch, project, "eval", "--split", "test", "--json").stdout)["looks"] == 1  # the run's own look again


def test_eval_of_the_base_trains_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(call(monkeypatch, project, "eval", "--base", "train.seed=99", "--split", "test", "--json").stdout)
    assert "zero-shot" in document["predictions"]["model"] or "few-shot" in document["predictions"]["model"]
    states = {s["role"]: s["state"] for s in json.loads(call(monkeypatch, project, "plan", "train.seed=99", "--json").stdout)["steps"]}
    assert (states["baseline"], states["train"]) == ("built", "to build")
    assert json.loads(call(monkeypatch, project, "eval", "--base", "--json").stdout)["predictions"]["split"] == "validation"


def test_eval_leaves_out_what_is_fitted_on_validation_rows_and_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call(monkeypatch, project, "eval", "objective.metrics=[ece, {kind: ece, scaling: temperature}]", "--json")
    assert done.exit_code == 0, done.stderr
    assert set(json.loads(done.stdout)["predictions"]["scores"]) == {"accuracy", "ece"}
    assert "not measured: ece_scaled: a temperature is fitted on validation rows and judged on others (`--split test`)" in done.stderr


def test_show_a_run_gives_its_lineage_down_to_the_data(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(call(monkeypatch, project, "show", "0001-toy", "--json").stdout)
    by_role = {record["role"]: record for record in document["lineage"]}
    assert by_role["verdict"]["inputs"] == {"tuned": by_role["tuned"]["key"], "baseline": by_role["baseline"]["key"]}
    assert by_role["split"]["inputs"] == {"dataset": by_role["rows"]["key"]}
    assert document["report"]["verdict"]["decision"] == "better"


def test_compare_pairs_two_runs_and_counts_the_look(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse = call(monkeypatch, project, "run", "train.learning_rate=1e-6", "name=timid", "--reason", "a smaller rate", "--json")
    assert worse.exit_code == 1
    assert json.loads(worse.stdout)["verdict"]["decision"] == "not proven"
    back = call(monkeypatch, project, "compare", "1", "timid", "--reason", "is it worse", "--json")
    document = json.loads(back.stdout)
    assert (back.exit_code, document["verdict"]["decision"]) == (1, "worse")
    again = call(monkeypatch, project, "compare", "timid", "1", "--json")
    forth = json.loads(again.stdout)
    assert (again.exit_code, forth["verdict"]["decision"]) == (0, "better")
    assert forth["verdict"]["effect"] == pytest.approx(-document["verdict"]["effect"])
    assert forth["looks"] == document["looks"]  # the same numbers from the other side


def test_chat_answers_with_the_tuned_model_and_its_own_system_message(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call(monkeypatch, project, "chat", "1", "--prompt", "now one stolen", "--max-new-tokens", "12", "--json")
    assert json.loads(done.stdout)["answer"] == "card"
    assert "was cut" not in done.stderr
    cut = call(monkeypatch, project, "chat", "1", "--prompt", "now one stolen", "--max-new-tokens", "1", "--json")
    assert json.loads(cut.stdout)["finish"] == "length"
    assert "the answer was cut at 1 tokens (--max-new-tokens)" in cut.stderr


def test_chat_draws_what_its_seed_says(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(seed: int, *more: str) -> str:
        options = ("--temperature", "5", "--seed", str(seed), "--max-new-tokens", "8", *more)
        return json.loads(call(monkeypatch, project, "chat", "1", "--prompt", "now one stolen", *options, "--json").stdout)["answer"]

    assert answer(0) == answer(0) != answer(1)
    assert answer(0, "--top-p", "0.000001") == "card"
    assert "top_p" in call(monkeypatch, project, "chat", "1", "--prompt", "a", "--temperature", "1", "--top-p", "2").stderr


def test_chat_reads_turns_until_the_end_of_input(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "luthier", "chat", "1", "--max-new-tokens", "12"],
        input="now one stolen\n/reset\nnow one late\n",
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["card", "cash"])


def test_data_show_marks_the_trained_tokens_only(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(call(monkeypatch, project, "data", "show", "--rows", "1", "--json").stdout)
    row = document["rows"][0]
    trained = "".join(piece["text"] for piece in row["pieces"] if piece["trained"])
    assert trained.removesuffix("<|im_end|>") in ("card", "rate", "cash")
    assert trained.endswith("<|im_end|>")


def test_schema_is_a_json_schema_of_the_project_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    schema = json.loads(call(monkeypatch, tmp_path, "schema").stdout)
    assert schema["additionalProperties"] is False
    assert {"name", "objective", "base", "data"} <= set(schema["required"])


@pytest.mark.parametrize("source", ["--example", "--data"])
def test_init_writes_a_project_that_plan_accepts(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    value = "banking-intents" if source == "--example" else str(project / "rows.csv")
    done = call(monkeypatch, tmp_path, "init", "new", source, value, "--json")
    assert done.exit_code == 0, done.stderr
    assert "luthier.yaml" in json.loads(done.stdout)["files"]
    planned = call(
        monkeypatch,
        tmp_path / "new",
        "plan",
        f"base={project.parent / 'none.gguf'}" if source == "--example" else "train.epochs=2",
        "--json",
    )
    assert planned.exit_code == 0, planned.stderr


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import luthier as package

    assert call(monkeypatch, tmp_path, "--version").stdout.strip() == package.__version__
