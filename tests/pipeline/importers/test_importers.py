"""Job files of other tools: every setting accounted for, the figures carried, and the result trained for two steps.

One decision: the samples are whole job files of realistic settings with small local data beside them; where a test replaces
anything, it is the base (a toy) and the number of steps.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.core.errors import UserError
from luthier.pipeline.importing import import_job, importers
from luthier.pipeline.project import load_project
from toy_project import toy_rows

SAMPLES = Path(__file__).parent / "samples"
TRAINABLE = ("axolotl.yml", "llamafactory.yaml", "trl.yaml", "unsloth.yaml", "openai-job.json")


def write_data(folder: Path) -> None:
    """The same 30 rows as chat messages, Alpaca, pairs and ShareGPT turns, and LLaMA-Factory's dataset_info.json."""
    data = folder / "data"
    data.mkdir()
    rows = [(text, f"about {label}") for text, label in toy_rows(10)]
    forms: dict[str, list[dict[str, Any]]] = {
        "support.jsonl": [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in rows],
        "alpaca.jsonl": [{"instruction": q, "input": "", "output": a} for q, a in rows],
        "pairs.jsonl": [{"prompt": q, "completion": a} for q, a in rows],
        "turns.jsonl": [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in rows],
        "tickets.jsonl": [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in rows],
    }
    for name, lines in forms.items():
        (data / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    info = {"support_alpaca": {"file_name": "alpaca.jsonl", "formatting": "alpaca"}}
    (data / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with every sample and its data."""
    for sample in SAMPLES.iterdir():
        shutil.copyfile(sample, tmp_path / sample.name)
    write_data(tmp_path)
    return tmp_path


def imported(workplace: Path, sample: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(project file as data, lines by key) of one sample."""
    out = workplace / f"{sample}.luthier.yaml"
    done = import_job(workplace / sample, out)
    return yaml.safe_load(out.read_text(encoding="utf-8")), {line.key: line for line in done.lines if line.key}


def leaves(data: Any, above: str = "") -> list[str]:
    """Dotted paths of every value in the sample."""
    if not isinstance(data, dict):
        return [above]
    return [p for k, v in data.items() for p in leaves(v, f"{above}.{k}" if above else str(k))]


@pytest.mark.parametrize("sample", sorted(p.name for p in SAMPLES.iterdir()))
def test_every_setting_of_a_sample_has_a_line_and_the_project_validates(workplace: Path, sample: str) -> None:
    out = workplace / "luthier.yaml"
    done = import_job(workplace / sample, out)
    mentioned = {line.key.rsplit(".", 1)[-1] for line in done.lines} | {line.key for line in done.lines}
    short = {"num_epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size", "random_seed": "seed", "lora_r": "r"}
    short |= {"gradient_checkpointing": "use_gradient_checkpointing", "model": "model_name"}
    silent_when_off = {"max_steps", "validation_file", "val_set_size", "loss_type", "type", "strict", "stage", "n_epochs", "beta"}
    for path in leaves(yaml.safe_load((workplace / sample).read_text(encoding="utf-8"))):
        name = path.rsplit(".", 1)[-1]
        top = path.split(".", 1)[0]
        known = {name, short.get(name, name), path, top}
        assert known & mentioned or name in silent_when_off, f"{path} was lost in silence"
    assert all(line.note or line.to for line in done.lines if line.fate == "not carried")


def test_axolotl(workplace: Path) -> None:
    project, lines = imported(workplace, "axolotl.yml")
    train = project["train"]
    assert project["base"] == "smollm2-135m-instruct"
    assert train["method"] == {"kind": "lora", "rank": 8, "alpha": 16, "targets": "all-linear"} | _dropout(0.05)
    assert (train["learning_rate"], train["batch_size"], train["epochs"]) == (2e-4, 8, 2)
    assert train["optimizer"] == {"kind": "adamw", "weight_decay": 0.01, "clip_norm": 0.5}
    assert train["schedule"] == {"kind": "cosine", "warmup_steps": 3}
    assert project["data"] == {"files": [{"path": "data/support.jsonl"}], "mapping": {"kind": "messages", "messages": "messages"}}
    assert project["prepare"] == {"max_length": 256, "too_long": "drop"}
    assert project["split"]["validation"] == 0.1
    assert lines["load_in_4bit"].fate == "not carried"
    assert lines["load_in_8bit"].fate == "no effect"
    assert "8 bits" in lines["optimizer"].note


def _dropout(value: float) -> dict[str, float]:
    """Carried where this version's LoRA has dropout."""
    from luthier.parts.methods.lora import LoRA

    return {"dropout": value} if "dropout" in LoRA.model_fields else {}


def test_what_cannot_be_trained_is_said(workplace: Path) -> None:
    done = import_job(workplace / "axolotl-full.yml", workplace / "luthier.yaml")
    lines = {line.key: line for line in done.lines if line.fate == "not carried"}
    assert "preference" in " ".join(done.untrainable)
    assert "muon" in lines["optimizer"].value
    assert "rex" in lines["lr_scheduler"].value
    assert "not known" in lines["some_new_switch"].note
    assert [line.note for line in done.lines if line.value == "tatsu-lab/alpaca"] == ["not a local file: fetch its rows and put them there"]
    assert "one mapping" in next(line.note for line in done.lines if line.value == "data/tickets.jsonl")
    text = (workplace / "luthier.yaml").read_text(encoding="utf-8")
    assert "# - some_new_switch = 7: not known to this importer" in text
    with pytest.raises(UserError, match=r"data/tatsu-lab--alpaca\.jsonl"):
        load_project(workplace / "luthier.yaml")


def test_llamafactory_looks_the_data_set_up(workplace: Path) -> None:
    project, lines = imported(workplace, "llamafactory.yaml")
    assert project["data"]["files"] == [{"path": "data/alpaca.jsonl"}]
    assert project["data"]["mapping"]["kind"] == "alpaca"
    assert project["train"]["method"] == {"kind": "lora", "rank": 8, "alpha": 16.0, "targets": "all-linear"}
    assert project["train"]["batch_size"] == 8
    assert project["split"]["max_rows"] == {"train": 1000}
    assert lines["trust_remote_code"].fate == "not carried"
    assert lines["lora_alpha"].fate == "default"


def test_trl(workplace: Path) -> None:
    project, _ = imported(workplace, "trl.yaml")
    assert project["data"]["mapping"]["kind"] == "prompt_completion"
    assert project["train"]["method"]["targets"] == ["q_proj", "v_proj"]
    assert project["train"]["optimizer"]["betas"] == [0.9, 0.95]
    assert project["train"]["schedule"] == {"kind": "constant", "warmup_ratio": 0.03}
    assert project["train"]["seed"] == 7


def test_unsloth_in_sections_and_flat(workplace: Path) -> None:
    project, lines = imported(workplace, "unsloth.yaml")
    assert project["train"]["method"]["rslora"] is True
    assert (project["train"]["method"]["rank"], project["train"]["epochs"], project["train"]["seed"]) == (32, 3, 3407)
    assert project["data"]["mapping"] == {"kind": "sharegpt"}
    assert lines["hub_token"].value == "(hidden)"
    assert "hf_not" not in (workplace / "unsloth.yaml.luthier.yaml").read_text(encoding="utf-8")
    flat, _ = imported(workplace, "unsloth-cli.yaml")
    assert (flat["train"]["steps"], flat["train"]["batch_size"]) == (400, 8)
    assert flat["data"]["files"] == [{"path": "data/yahma--alpaca-cleaned.jsonl"}]


def test_openai(workplace: Path) -> None:
    project, lines = imported(workplace, "openai-job.json")
    assert (project["train"]["epochs"], project["train"]["batch_size"], project["train"]["seed"]) == (2, 8, 105)
    assert lines["model"].fate == "not carried"
    assert lines["method.supervised.hyperparameters.learning_rate_multiplier"].fate == "not carried"
    done = import_job(workplace / "openai-dpo.json", workplace / "luthier.yaml")
    assert done.untrainable == ("dpo fine-tuning",)


@pytest.mark.parametrize("sample", TRAINABLE)
def test_each_result_trains(workplace: Path, sample: str, learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    runner = CliRunner()
    done = runner.invoke(app, ["import", sample, "--json"])
    assert done.exit_code == 0, done.output
    toy = [f"base={learner_base}", "train.steps=2", "train.epochs=null", "train.evaluations=1", "train.train_sample=0"]
    trained = runner.invoke(app, ["train", *toy, "split.test=4", "split.validation=4", "execution.threads=1"])
    assert trained.exit_code == 0, trained.output


def test_wrong_files_get_one_clear_message(workplace: Path) -> None:
    cases = {
        "empty.yaml": ("", "mapping"),
        "list.yaml": ("- a\n- b\n", "mapping"),
        "other.yaml": ("colour: red\nsize: 3\n", "format must be clear"),
        "no-data.yaml": ("base_model: x\nsequence_len: 8\nmicro_batch_size: 1\n", "must name its data"),
        "batch.yaml": (
            "base_model: x\nmicro_batch_size: two\nsequence_len: 9\ndatasets: [{path: data/support.jsonl, type: alpaca}]",
            "whole number",
        ),
        "rate.yaml": (
            "base_model: x\nlearning_rate: 5\nsequence_len: 9\nadapter: lora\ndatasets: [{path: data/support.jsonl, type: alpaca}]",
            "learning_rate",
        ),
        "broken.yaml": ("a: [1, 2", "valid YAML"),
        "twice.yaml": ("base_model: x\nbase_model: y\n", "twice"),
    }
    for name, (text, message) in cases.items():
        (workplace / name).write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            import_job(workplace / name, workplace / "luthier.yaml")
        assert not (workplace / "luthier.yaml").exists()
    with pytest.raises(UserError, match="must exist"):
        import_job(workplace / "absent.yaml", workplace / "luthier.yaml")
    with pytest.raises(UserError, match="known format"):
        import_job(workplace / "trl.yaml", workplace / "luthier.yaml", "axolotle")
    (workplace / "luthier.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="nothing is overwritten"):
        import_job(workplace / "trl.yaml", workplace / "luthier.yaml")
    assert (workplace / "luthier.yaml").read_text(encoding="utf-8") == "mine"


def test_the_folder_is_the_registry() -> None:
    assert sorted(importers()) == ["axolotl", "llamafactory", "openai", "trl", "unsloth"]
