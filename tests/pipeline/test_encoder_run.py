"""A project on an encoder: the same stages and verbs, to a verdict against linear probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.core.errors import UserError
from luthier.core.events import ignore
from luthier.pipeline.plan import advice
from luthier.pipeline.run import RunOptions, RunOutcome, run
from luthier.pipeline.workspace import Workspace
from toy_encoders import make_toy_encoder
from toy_project import toy_settings, write_settings, write_toy

OPTIONS = RunOptions(ignore, lambda: False)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_encoder(tmp_path_factory.mktemp("base") / "toy-bert")


def _settings(encoder: Path, **sections: Any) -> dict[str, Any]:
    plain = toy_settings(encoder)
    data = {k: v for k, v in plain["data"].items() if k != "prompt"}
    train = {**plain["train"], "learning_rate": 0.005, "epochs": 5}
    settings = {**plain, "data": data, "prepare": {}, "train": train, **sections}
    return {k: v for k, v in settings.items() if k != "evaluate" or "evaluate" in sections}


def _project(folder: Path, encoder: Path, **sections: Any) -> Workspace:
    write_toy(folder, encoder)
    return Workspace.open(write_settings(folder, _settings(encoder, **sections)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> tuple[Workspace, RunOutcome]:
    workspace = _project(tmp_path_factory.mktemp("encoder") / "toy", encoder, watch={})
    return workspace, run(workspace, OPTIONS)


def test_the_run_ends_with_a_verdict_against_a_linear_probe(finished: tuple[Workspace, RunOutcome]) -> None:
    _, outcome = finished
    report = outcome.report
    assert report.verdict.num_rows == 42
    assert report.verdict.tuned >= 0.9
    names = [c.name for c in report.candidates if c.split == "validation"]
    assert names == ["constant answer", "linear probe, C=1", "linear probe, C=10", "linear probe, C=100"]
    chosen = [c for c in report.candidates if c.chosen]
    assert {c.name for c in chosen} == {chosen[0].name}
    assert chosen[0].name.startswith("linear probe")
    assert any("cannot be prompted" in line for line in report.limits)
    assert report.model.kind == "encoder"
    assert "AutoModelForSequenceClassification" in (outcome.folder / "model_card.md").read_text()


def test_an_encoder_forgets_no_text_and_takes_no_canaries(finished: tuple[Workspace, RunOutcome], tmp_path: Path, encoder: Path) -> None:
    effects = finished[1].report.side_effects
    assert effects is not None
    assert effects.forgetting is None
    assert not effects.memorisation.membership.calibrated
    assert effects.memorisation.membership.num_train == 60
    assert "Forgetting: not measured" in (finished[1].folder / "model_card.md").read_text()
    workspace = _project(tmp_path / "toy", encoder, watch={"canaries": 2})
    assert workspace.graph.planted is not None
    with pytest.raises(UserError, match="canaries are answers in text"):
        workspace.store.build(workspace.graph.planted, workspace.project.execution)


def test_predictions_have_labels_with_probabilities(finished: tuple[Workspace, RunOutcome]) -> None:
    _, outcome = finished
    rows = [json.loads(line) for line in (outcome.folder / "predictions.jsonl").read_text().splitlines()]
    assert {row["output"] for row in rows} <= {"card", "cash", "rate"}
    assert all(len(row["label_logprobs"]) == 3 and 1 / 3 <= row["confidence"] <= 1 for row in rows)


def test_the_adapter_gives_the_same_answers_in_plain_transformers_and_peft(finished: tuple[Workspace, RunOutcome], encoder: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    workspace, outcome = finished
    train = workspace.store.build(workspace.graph.train, workspace.project.execution)
    plain: Any = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    model: Any = PeftModel.from_pretrained(plain, train.path / "adapter").eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(encoder)
    for line in (outcome.folder / "predictions.jsonl").read_text().splitlines()[:12]:
        row = json.loads(line)
        with torch.no_grad():
            logits = model(**tokenizer(row["prompt"][0]["content"], return_tensors="pt")).logits[0]
        assert torch.log_softmax(logits, -1).tolist() == pytest.approx(row["label_logprobs"], abs=1e-4)


def test_a_second_run_builds_nothing(finished: tuple[Workspace, RunOutcome]) -> None:
    assert run(finished[0], OPTIONS).cached


def test_plan_says_what_the_base_is(finished: tuple[Workspace, RunOutcome], encoder: Path, tmp_path: Path) -> None:
    said = list(advice(finished[0]))
    assert any("toy-bert is an encoder (BertModel" in line for line in said)
    assert "there is no memory model for an encoder: time and memory are not predicted" in said
    assert any("toy-bert is an encoder (BertModel" in line for line in advice(_project(tmp_path / "new", encoder)))


def test_an_encoder_is_not_prompted(tmp_path: Path, encoder: Path) -> None:
    workspace = _project(tmp_path / "toy", encoder, evaluate={"baselines": [{"name": "zero-shot"}]})
    with pytest.raises(UserError, match=r"an encoder cannot be prompted.*leave evaluate\.baselines out"):
        run(workspace, OPTIONS)


def test_an_encoder_reads_no_instruction(tmp_path: Path, encoder: Path) -> None:
    data = toy_settings(encoder)["data"]
    with pytest.raises(UserError, match="an encoder reads one text or a pair of texts"):
        run(_project(tmp_path / "toy", encoder, data=data), OPTIONS)


def test_an_encoder_gives_no_free_text(tmp_path: Path, encoder: Path) -> None:
    data = {"files": ["rows.csv"], "mapping": {"kind": "prompt_completion", "prompt": "text", "completion": "label"}}
    workspace = _project(tmp_path / "toy", encoder, data=data, objective={"task": "rewrite", "goal": "Say it."})
    with pytest.raises(UserError, match="an encoder answers with a label, several labels or a number"):
        workspace.store.build(workspace.graph.prepared, workspace.project.execution)


def test_an_encoder_cannot_chat(finished: tuple[Workspace, RunOutcome], encoder: Path) -> None:
    from luthier.engine.decoding import Decoding
    from luthier.pipeline.chat import open_model

    for name in (str(encoder), "1"):
        with pytest.raises(UserError, match="writes none"):
            open_model(name, finished[0].file, None, Decoding())


def test_an_encoder_is_not_exported_to_a_chat_format(finished: tuple[Workspace, RunOutcome], encoder: Path) -> None:
    from luthier.pipeline.export_source import find_source

    for name in ("1", str(encoder)):
        with pytest.raises(UserError, match="only decoders are exported"):
            find_source(name, finished[0].file)
