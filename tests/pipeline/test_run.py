"""A run from project file to verdict: what it leaves, what a second one does, and what a change rebuilds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.core.events import Event, StageFinished, ignore
from luthier.core.records import Example, Message, Source
from luthier.pipeline.run import RunOptions, RunOutcome, run
from luthier.pipeline.workspace import Workspace
from toy_project import toy_settings, write_extraction, write_settings, write_toy

VERDICT = {
    "decision",
    "metric",
    "baseline",
    "tuned",
    "effect",
    "interval",
    "p",
    "test",
    "num_rows",
    "minimum_detectable_effect",
    "looks",
}
PREDICTION = {"key", "id", "source", "prompt", "reference", "output", "scores"}
LEDGER = {"key", "id", "source", "step", "fate", "reason"}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_folder(project: Path) -> Path:
    return project / ".luthier" / "runs" / "0001-toy"


def go(folder: Path, *overrides: str) -> tuple[RunOutcome, list[str]]:
    """A run in this process, and the stages that it built."""
    built: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, StageFinished) and not event.cached:
            built.append(event.stage)

    return run(Workspace.open(folder / "luthier.yaml", overrides), RunOptions(watch, lambda: False, reason="a test")), built


@pytest.fixture
def copy(finished_toy: Path, tmp_path: Path) -> Path:
    """The finished project, to change."""
    shutil.copytree(finished_toy, tmp_path / "toy", symlinks=True)
    return tmp_path / "toy"


def test_the_toy_run_ends_better_with_exit_code_0(finished_toy: Path) -> None:
    document = json.loads((finished_toy / "first.json").read_text())
    assert document["kind"] == "run"
    assert document["verdict"]["decision"] == "better"
    assert document["verdict"]["p"] < 0.01
    assert not document["cached"]


def test_a_second_run_is_all_cached_and_the_same_run(copy: Path) -> None:
    report = (run_folder(copy) / "report.json").read_bytes()
    outcome, built = go(copy)
    assert (outcome.number, outcome.cached, built) == (1, True, [])
    assert (run_folder(copy) / "report.json").read_bytes() == report


@pytest.mark.parametrize(
    ("override", "rebuilt"),
    [
        ("train.seed=14", ["train", "evaluate", "measureeffects", "judge"]),
        ("evaluate.alpha=0.01", ["judge"]),
        ("evaluate.baselines=[{name: zero-shot}]", ["chooseprompting", "evaluate", "judge"]),
        ("prepare.max_length=200", ["prepare", "train", "evaluate", "measureeffects", "judge"]),
        ("split.seed=4", ["split", "prepare", "chooseprompting", "train", "evaluate", "evaluate", "measureeffects", "judge"]),
    ],
)
def test_one_changed_setting_rebuilds_only_what_is_above_it(copy: Path, override: str, rebuilt: list[str]) -> None:
    outcome, built = go(copy, override)
    assert (outcome.number, built) == (2, rebuilt)


def test_side_effects_are_measured_again_without_training_and_without_a_look(copy: Path) -> None:
    outcome, built = go(copy, "watch.margin=0.5")
    assert (outcome.number, outcome.report.verdict.looks, built) == (1, 1, ["measureeffects"])
    assert outcome.report.side_effects is not None
    assert outcome.report.side_effects.forgetting is not None
    assert outcome.report.side_effects.forgetting.margin == 0.5


@pytest.mark.parametrize("override", ["name=other", "objective.goal=Other words.", "objective.affected=[everybody]"])
def test_words_rebuild_nothing(copy: Path, override: str) -> None:
    assert go(copy, override)[1] == []


@pytest.mark.parametrize("override", ["engine=reference", "micro_batch_tokens=64", "save_every=7", "threads=2", "device=cpu"])
def test_execution_settings_are_in_no_key(finished_toy: Path, override: str) -> None:
    file = finished_toy / "luthier.yaml"
    plain, other = Workspace.open(file), Workspace.open(file, (f"execution.{override}",))
    assert other.project.execution != plain.project.execution
    assert {r: s.key() for r, s in other.graph.roles().items()} == {r: s.key() for r, s in plain.graph.roles().items()}


def test_a_changed_row_of_the_data_changes_every_key_but_the_base(copy: Path) -> None:
    before = Workspace.open(copy / "luthier.yaml").graph.roles()
    keys = {role: stage.key() for role, stage in before.items()}
    with (copy / "rows.csv").open("a") as f:
        f.write("a new row stolen,card\n")
    after = {role: stage.key() for role, stage in Workspace.open(copy / "luthier.yaml").graph.roles().items()}
    assert {role for role in keys if keys[role] == after[role]} == {"base"}


def test_report_json_carries_the_verdict_as_published(finished_toy: Path) -> None:
    body = json.loads((run_folder(finished_toy) / "report.json").read_text())
    assert (body["kind"], body["version"]) == ("run_report", 1)
    verdict = body["verdict"]
    assert set(verdict) == VERDICT | {"alpha", "sentence"}
    assert verdict["decision"] in ("better", "not proven", "worse")
    assert verdict["interval"][0] <= verdict["effect"] <= verdict["interval"][1]
    assert verdict["effect"] == pytest.approx(verdict["tuned"] - verdict["baseline"])
    assert (verdict["num_rows"], verdict["looks"]) == (42, 1)


def test_predictions_hold_every_published_field_for_every_sealed_row(finished_toy: Path) -> None:
    rows = lines(run_folder(finished_toy) / "predictions.jsonl")
    assert all(set(row) >= PREDICTION for row in rows)
    sealed = lines(run_folder(finished_toy) / "split" / "test.jsonl")
    assert sorted(row["key"] for row in rows) == sorted(row["key"] for row in sealed)


def test_every_score_can_be_computed_again_from_the_predictions(finished_toy: Path) -> None:
    from luthier.parts.scorers import load
    from luthier.parts.scorers.summary import evaluate

    for role, name in (("tuned", "predictions.jsonl"), ("baseline", "baseline_predictions.jsonl")):
        rows = lines(run_folder(finished_toy) / name)
        examples = [
            Example(
                messages=(*(Message(m["role"], m["content"]) for m in r["prompt"]), Message("assistant", r["reference"])),
                source=Source("", ""),
                key=r["key"],
                label=r["label"],
            )
            for r in rows
        ]
        summary = evaluate((load("accuracy"), load("macro_f1")), examples, [r["output"] for r in rows])
        stored = json.loads((run_folder(finished_toy) / role / "scores.json").read_text())
        assert summary.to_json() == stored
        assert summary.rows == [r["scores"] for r in rows]
        assert stored["estimates"]["accuracy"]["value"] == sum(r["output"] == r["reference"] for r in rows) / len(rows)


def test_the_verdict_can_be_computed_again_from_the_two_files(finished_toy: Path) -> None:
    from scipy.stats import binomtest

    tuned = {r["key"]: r["scores"]["accuracy"] for r in lines(run_folder(finished_toy) / "predictions.jsonl")}
    base = {r["key"]: r["scores"]["accuracy"] for r in lines(run_folder(finished_toy) / "baseline_predictions.jsonl")}
    gained = sum(tuned[k] > base[k] for k in tuned)
    lost = sum(tuned[k] < base[k] for k in tuned)
    verdict = json.loads((run_folder(finished_toy) / "report.json").read_text())["verdict"]
    assert verdict["effect"] == pytest.approx((gained - lost) / len(tuned))
    assert verdict["p"] == pytest.approx(binomtest(gained, gained + lost).pvalue)


def test_metrics_have_steps_splits_names_and_values(finished_toy: Path) -> None:
    rows = lines(run_folder(finished_toy) / "metrics.jsonl")
    assert all(set(row) == {"step", "split", "name", "value"} for row in rows)
    losses = [row["step"] for row in rows if (row["split"], row["name"]) == ("train", "loss")]
    assert losses == list(range(1, 33))
    assert {row["step"] for row in rows if row["split"] == "validation"} == {0, 16, 32}


def test_the_ledger_follows_every_row_of_the_file(finished_toy: Path) -> None:
    rows = lines(run_folder(finished_toy) / "ledger.jsonl")
    assert all(set(row) == LEDGER for row in rows)
    assert {row["source"] for row in rows} == {f"rows.csv row {i}" for i in range(1, 121)}
    assert {row["fate"] for row in rows} <= {"kept", "changed", "set_aside", "dropped"}


def test_the_resolved_config_is_a_project_file_with_the_same_keys(copy: Path) -> None:
    resolved = run_folder(copy) / "config.resolved.yaml"
    original, again = Workspace.open(copy / "luthier.yaml"), Workspace.open(resolved)
    assert {r: s.key() for r, s in again.graph.roles().items()} == {r: s.key() for r, s in original.graph.roles().items()}
    outcome = run(again, RunOptions(ignore, lambda: False))
    assert (outcome.number, outcome.cached) == (1, True)
    assert not (run_folder(copy) / ".luthier").exists()
    assert str(copy) not in resolved.read_text()


def test_the_command_in_the_report_finds_the_same_run(copy: Path) -> None:
    (command,) = json.loads((run_folder(copy) / "report.json").read_text())["run"]["commands"]
    assert command == "cd toy && luthier run --file .luthier/runs/0001-toy/config.resolved.yaml"
    assert (copy / command.rpartition(" ")[2]).is_file()


def test_a_deleted_artifact_is_built_again(copy: Path) -> None:
    before = (run_folder(copy) / "predictions.jsonl").read_bytes()
    shutil.rmtree((run_folder(copy) / "tuned").resolve())
    outcome, built = go(copy)
    assert (outcome.number, built) == (1, ["evaluate"])
    assert (run_folder(copy) / "predictions.jsonl").read_bytes() == before


def test_looks_are_counted_by_different_evaluations_and_not_by_reading(copy: Path) -> None:
    assert go(copy)[0].report.verdict.looks == 1
    second = go(copy, "train.seed=14")[0]
    assert second.report.verdict.looks == 2
    assert any("looked at 2 times" in text for text in second.report.limits)
    assert go(copy, "train.seed=14")[0].report.verdict.looks == 2


def test_the_adapter_gives_the_same_logits_in_plain_transformers_and_peft(finished_toy: Path, learner_base: Path) -> None:
    import numpy as np
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from luthier.core.execution import Execution
    from luthier.engine.contract import TokenSequence
    from luthier.engine.select import load_engine

    adapter = run_folder(finished_toy) / "train" / "adapter"
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(learner_base, dtype=torch.float32), adapter).eval()
    tokens = np.random.default_rng(0).integers(3, 300, size=40).astype(np.int32)
    weights = np.ones(40, np.float32)
    weights[0] = 0
    with torch.no_grad():
        logits = peft(torch.tensor(tokens[None].astype(np.int64))).logits[0].double()
        base_logits = peft.get_base_model()
        wanted = torch.log_softmax(logits[:-1], -1)[torch.arange(39), torch.tensor(tokens[1:].astype(np.int64))].numpy()
    assert base_logits is not None
    for engine in ("reference", "fast"):
        ours = load_engine(learner_base, None, Execution(engine=engine, threads=1), 0, adapter=adapter)
        assert np.abs(ours.logprobs([TokenSequence(tokens, weights)])[0] - wanted).max() < 1e-4
    bare = load_engine(learner_base, None, Execution(threads=1), 0)
    assert np.abs(bare.logprobs([TokenSequence(tokens, weights)])[0] - wanted).max() > 0.1


def test_fast_and_reference_give_the_same_run(copy: Path, tmp_path: Path, learner_base: Path) -> None:
    write_toy(tmp_path / "reference", learner_base, execution={"engine": "reference", "threads": 1})
    outcome, _ = go(tmp_path / "reference")
    assert outcome.report.training is not None
    assert outcome.report.training.engine.startswith("reference")
    mine = [(r["key"], r["output"]) for r in lines(run_folder(copy) / "predictions.jsonl")]
    theirs = [(r["key"], r["output"]) for r in lines(outcome.folder / "predictions.jsonl")]
    assert mine == theirs
    losses = [
        [r["value"] for r in lines(folder / "metrics.jsonl") if (r["split"], r["name"]) == ("train", "loss")]
        for folder in (run_folder(copy), outcome.folder)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2, abs=1e-3)


def test_an_extraction_project_generates_and_is_judged(tmp_path: Path, learner_base: Path) -> None:
    write_extraction(tmp_path, learner_base)
    outcome, _ = go(tmp_path)
    rows = lines(outcome.folder / "predictions.jsonl")
    assert outcome.report.verdict.metric == "entity_f1"
    assert len(rows) == 12
    assert {row["finish"] for row in rows} <= {"stop", "length"}
    assert set(rows[0]["scores"]) == {"entity_f1", "valid_json"}
    assert all(json.loads(row["reference"]) is not None for row in rows)


def test_a_metric_of_ones_own_is_found_beside_the_project_file(tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    file = write_toy(tmp_path / "toy", learner_base)
    (tmp_path / "toy" / "own.py").write_text(
        "class Own:\n    def __call__(self, example, output):\n        return example.reference == output\n"
    )
    settings = toy_settings(learner_base)
    settings["objective"]["metrics"] = ["own.py:Own"]
    write_settings(file.parent, settings)
    outcome = run(Workspace.open(file), RunOptions(ignore, lambda: False))
    assert outcome.report.evaluation.metrics[1].name == "Own"
    resolved = yaml.safe_load((outcome.folder / "config.resolved.yaml").read_text())
    assert not Path(resolved["objective"]["metrics"][0]["file"]["path"]).is_absolute()
    again = Workspace.open(outcome.folder / "config.resolved.yaml")
    assert again.graph.verdict.key() == Workspace.open(file).graph.verdict.key()
