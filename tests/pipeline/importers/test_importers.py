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
from luthier.pipeline.import_trainer import kinds_of
from luthier.pipeline.importing import import_job, importers
from luthier.pipeline.project import load_project
from toy_project import toy_rows

SAMPLES = Path(__file__).parent / "samples"
CHAT = "path: data/support.jsonl, type: chat_template"
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


def paths_of(data: Any, above: str = "") -> list[str]:
    """Dotted paths of every value in the sample, also inside lists of mappings."""
    if isinstance(data, dict):
        return [p for k, v in data.items() for p in paths_of(v, f"{above}.{k}" if above else str(k))]
    if isinstance(data, list) and any(isinstance(v, dict) for v in data):
        return [p for i, v in enumerate(data) for p in paths_of(v, f"{above}.{i}")]
    return [above]


@pytest.mark.parametrize("sample", sorted(p.name for p in SAMPLES.iterdir()))
def test_every_setting_of_a_sample_has_a_line_and_the_project_validates(workplace: Path, sample: str) -> None:
    done = import_job(workplace / sample, workplace / "luthier.yaml")
    told = {line.key for line in done.lines}
    paths = paths_of(yaml.safe_load((workplace / sample).read_text(encoding="utf-8")))
    assert len(paths) >= 4
    for path in paths:
        steps = path.split(".")
        assert told & {".".join(steps[:n]) for n in range(1, len(steps) + 1)}, f"{path} has no line"
    assert all(line.note for line in done.lines if line.fate in ("not carried", "no effect"))
    assert all(line.to for line in done.lines if line.fate in ("carried", "changed", "default"))
    unknown = [line.key for line in done.lines if "not known to this importer" in line.note]
    assert unknown == (["some_new_switch"] if sample == "axolotl-full.yml" else [])


def test_axolotl(workplace: Path) -> None:
    project, lines = imported(workplace, "axolotl.yml")
    train = project["train"]
    assert project["base"] == "smollm2-135m-instruct"
    settings = {"kind": "qlora", "stored": "nf4", "rank": 8, "alpha": 16, "targets": "all-linear"}
    assert train["method"] == settings | _dropout(settings["kind"], 0.05)
    assert (train["learning_rate"], train["batch_size"], train["epochs"]) == (2e-4, 8, 2)
    assert train["optimizer"] == {"kind": "adamw", "weight_decay": 0.01, "clip_norm": 0.5}
    assert train["schedule"] == {"kind": "cosine", "warmup_steps": 3}
    assert (lines["micro_batch_size"].fate, lines["num_epochs"].fate) == ("changed", "carried")
    assert lines["adapter"].fate == "carried"
    assert lines["datasets.0.message_property_mappings"].fate == "changed"
    assert project["data"] == {"files": [{"path": "data/support.jsonl"}], "mapping": {"kind": "messages", "messages": "messages"}}
    assert project["prepare"] == {"max_length": 256, "too_long": "drop"}
    assert project["split"]["validation"] == 0.1
    assert lines["load_in_4bit"].fate == "changed"
    assert lines["load_in_8bit"].fate == "no effect"
    assert "8 bits" in lines["optimizer"].note


def _dropout(method: str, value: float) -> dict[str, float]:
    """Carried where this version's method has dropout."""
    return {"dropout": value} if "dropout" in kinds_of("method")[method].model_fields else {}


AXOLOTL = "base_model: x\ndatasets: [{path: data/support.jsonl, type: chat_template}]\nmicro_batch_size: 1\n"
TRL = "model_name_or_path: x\ndataset_name: data/support.jsonl\nuse_peft: true\nmax_length: 64\n"
FACTORY = "model_name_or_path: x\nstage: sft\nfinetuning_type: lora\ndataset: data/support.jsonl\ntemplate: llama3\ncutoff_len: 64\n"
FOUR_BIT = {
    "axolotl": (
        AXOLOTL + "adapter: qlora\nload_in_4bit: true\nbnb_config_kwargs: {bnb_4bit_quant_type: fp4, bnb_4bit_use_double_quant: false, "
        "bnb_4bit_compute_dtype: bfloat16, bnb_4bit_quant_storage: uint8, llm_int8_has_fp16_weight: true}\n",
        {
            "load_in_4bit": "changed", "bnb_config_kwargs.bnb_4bit_quant_type": "changed",
            "bnb_config_kwargs.bnb_4bit_use_double_quant": "no effect", "bnb_config_kwargs.bnb_4bit_compute_dtype": "not carried",
            "bnb_config_kwargs.bnb_4bit_quant_storage": "no effect", "bnb_config_kwargs.llm_int8_has_fp16_weight": "not carried",
        },
    ),
    "axolotl without the switch": (AXOLOTL + "adapter: qlora\n", {"bnb_config_kwargs.bnb_4bit_use_double_quant": "not carried"}),
    "trl": (
        TRL + "load_in_4bit: true\nbnb_4bit_quant_type: nf4\nuse_bnb_nested_quant: true\nbnb_4bit_quant_storage: bfloat16\n",
        {"bnb_4bit_quant_type": "carried", "use_bnb_nested_quant": "not carried", "bnb_4bit_quant_storage": "no effect"},
    ),
    "llamafactory": (
        FACTORY + "quantization_bit: 4\nquantization_method: bnb\nquantization_type: nf4\ndouble_quantization: false\n",
        {
            "quantization_bit": "changed", "quantization_method": "no effect",
            "quantization_type": "carried", "double_quantization": "no effect",
        },
    ),
    "llamafactory with another program": (
        FACTORY + "quantization_bit: 4\nquantization_method: hqq\n",
        {"quantization_method": "not carried", "double_quantization": "not carried"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUR_BIT)
def test_a_4_bit_job_becomes_qlora_with_every_setting_told(workplace: Path, name: str) -> None:
    text, fates = FOUR_BIT[name]
    (workplace / "four.yml").write_text(text, encoding="utf-8")
    project, lines = imported(workplace, "four.yml")
    assert (project["train"]["method"]["kind"], project["train"]["method"]["stored"]) == ("qlora", "nf4")
    assert {key: lines[key].fate for key in fates} == fates
    assert not [key for key, line in lines.items() if "not known" in line.note]


def test_an_8_bit_job_keeps_float32_and_says_so(workplace: Path) -> None:
    (workplace / "eight.yml").write_text(AXOLOTL + "adapter: lora\nload_in_8bit: true\nbnb_config_kwargs: {llm_int8_threshold: 6.0}\n")
    project, lines = imported(workplace, "eight.yml")
    assert project["train"]["method"]["kind"] == "lora"
    assert "stored" not in project["train"]["method"]
    for key in ("load_in_8bit", "bnb_config_kwargs.llm_int8_threshold"):
        assert (lines[key].fate, "kept in float32" in lines[key].note) == ("not carried", True)


def test_noise_and_smoothing_are_carried(workplace: Path) -> None:
    job = yaml.safe_load((workplace / "trl.yaml").read_text(encoding="utf-8"))
    job |= {"lora_dropout": 0.05, "neftune_noise_alpha": 5.0, "label_smoothing_factor": 0.1}
    (workplace / "trl-noise.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    project, lines = imported(workplace, "trl-noise.yaml")
    assert project["train"]["regularisation"] == {"neftune_alpha": 5.0, "label_smoothing": 0.1}
    assert project["train"]["method"]["dropout"] == 0.05
    assert (lines["lora_dropout"].fate, lines["neftune_noise_alpha"].fate) == ("carried", "carried")


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
    assert project["train"]["method"] == {"kind": "lora", "rank": 8, "alpha": 16.0, "targets": "all-linear", "dropout": 0.0}
    assert project["train"]["batch_size"] == 8
    assert project["split"]["max_rows"] == {"train": 1000}
    assert lines["trust_remote_code"].fate == "not carried"
    assert "lora_alpha" not in lines


def test_trl(workplace: Path) -> None:
    project, lines = imported(workplace, "trl.yaml")
    assert project["data"]["mapping"]["kind"] == "prompt_completion"
    assert project["train"]["method"]["targets"] == ["q_proj", "v_proj"]
    assert project["train"]["optimizer"]["betas"] == [0.9, 0.95]
    assert project["train"]["schedule"] == {"kind": "constant", "warmup_ratio": 0.03}
    assert project["train"]["seed"] == 7
    assert lines["completion_only_loss"].fate == "no effect"


def test_unsloth_in_sections_and_flat(workplace: Path) -> None:
    project, lines = imported(workplace, "unsloth.yaml")
    assert project["train"]["method"]["rslora"] is True
    assert (project["train"]["method"]["rank"], project["train"]["epochs"], project["train"]["seed"]) == (32, 3, 3407)
    assert project["data"]["mapping"] == {"kind": "sharegpt"}
    assert lines["logging.hf_token"].value == "(hidden)"
    assert lines["lora.lora_r"].to == "train.method.rank"
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


def written(folder: Path, name: str, text: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(project, lines by key, text of the project file) of a job file with this text."""
    (folder / name).write_text(text, encoding="utf-8")
    out = folder / f"{name}.luthier.yaml"
    done = import_job(folder / name, out)
    file = out.read_text(encoding="utf-8")
    return yaml.safe_load(file), {line.key: line for line in done.lines if line.key}, file


def test_defaults_that_change_the_training_are_written_out(workplace: Path) -> None:
    """Axolotl warms up over 3 % of the steps, TRL's LoRA is on q and v, Unsloth's two forms differ in rank and length."""
    data = "datasets: [{path: data/support.jsonl, type: chat_template}]"
    axolotl, _, _ = written(workplace, "a.yml", f"base_model: x/y\nsequence_len: 64\nadapter: lora\n{data}\n")
    assert axolotl["train"]["schedule"] == {"kind": "cosine", "warmup_ratio": 0.03}
    assert axolotl["train"]["optimizer"]["clip_norm"] == 1.0
    assert axolotl["prepare"]["too_long"] == "drop"
    trl, _, file = written(workplace, "t.yaml", "model_name_or_path: x/y\ndataset_name: data/pairs.jsonl\nuse_peft: true\n")
    assert trl["train"]["method"]["targets"] == ["q_proj", "v_proj"]
    assert (trl["train"]["learning_rate"], trl["train"]["batch_size"], trl["train"]["epochs"]) == (2e-5, 8, 3.0)
    assert "dropout" in trl["train"]["method"] or "default is 0.05" in file
    factory, _, _ = written(workplace, "l.yaml", "model_name_or_path: x/y\ndataset: support_alpaca\nfinetuning_type: lora\n")
    assert factory["train"]["schedule"]["kind"] == "linear"
    sections, _, _ = written(
        workplace, "u.yaml", "model: x/y\ndata: {local_dataset: [data/turns.jsonl]}\ntraining: {training_type: lora}\n"
    )
    assert (sections["train"]["method"]["rank"], sections["train"]["epochs"]) == (64, 3)
    assert sections["train"]["schedule"]["warmup_steps"] == 5
    flat, _, _ = written(workplace, "f.yaml", "model_name: x/y\ndataset: data/turns.jsonl\nmax_seq_length: 64\n")
    assert (flat["train"]["method"]["rank"], flat["train"]["steps"]) == (16, 400)


def test_settings_that_mean_another_thing_are_told_apart(workplace: Path) -> None:
    base = "model_name_or_path: x/y\ndataset_name: data/pairs.jsonl\nuse_peft: true\n"
    _, lines, _ = written(workplace, "0.yaml", "model_name_or_path: x/y\ndataset_name: data/pairs.jsonl\nuse_peft: false\nmax_length: 64\n")
    assert lines["use_peft"].note.startswith(("cannot be trained: full", "without an adapter"))
    whole, lines, _ = written(workplace, "1.yaml", base + "max_length: null\nloss_type: chunked_nll\n")
    assert "max_length" not in whole.get("prepare", {})
    assert (lines["max_length"].fate, lines["loss_type"].fate) == ("carried", "no effect")
    left, _, _ = written(workplace, "2.yaml", base + "truncation_mode: keep_end\n")
    assert left["prepare"]["too_long"] == "cut_start"
    _, lines, _ = written(workplace, "3.yaml", base + "loss_type: dft\nlr_scheduler_kwargs: {min_lr_rate: 0.1, num_cycles: 2}\n")
    assert "cannot be trained" in lines["loss_type"].note
    assert (lines["lr_scheduler_kwargs.min_lr_rate"].fate, lines["lr_scheduler_kwargs.num_cycles"].fate) == ("carried", "not carried")
    share, _, _ = written(workplace, "4.yaml", base + "warmup_steps: 0.1\nwarmup_ratio: 0.5\n")
    assert share["train"]["schedule"]["warmup_ratio"] == 0.1
    rows = "base_model: x/y\nsequence_len: 64\nadapter: lora\nbatch_size: 24\nmicro_batch_size: 2\nval_set_size: 20.0\n"
    sized, lines, _ = written(
        workplace, "5.yaml", rows + "datasets: [{path: data/support.jsonl, type: chat_template, split: 'train[:10%]'}]\n"
    )
    assert (sized["train"]["batch_size"], sized["split"]["validation"]) == (24, 20)
    assert lines["datasets.0.split"].fate == "not carried"


def test_dataset_info_of_llamafactory(workplace: Path) -> None:
    info = {
        "chat": {"file_name": "support.jsonl", "formatting": "openai", "columns": {"messages": "messages"}, "tags": {"role_tag": "role"}},
        "film": {"file_name": "support.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages", "videos": "videos"}},
        "odd": {"file_name": "turns.jsonl", "formatting": "sharegpt", "tags": {"user_tag": "customer"}},
        "part": {"file_name": "alpaca.jsonl", "num_samples": 5},
    }
    (workplace / "data" / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    job = "model_name_or_path: x/y\nfinetuning_type: lora\ncutoff_len: 64\ndataset: "
    chat, _, _ = written(workplace, "chat.yaml", job + "chat\n")
    assert chat["data"]["mapping"] == {"kind": "messages", "messages": "messages"}
    (workplace / "film.yaml").write_text(job + "film\n", encoding="utf-8")
    assert "pictures, film or sound" in import_job(workplace / "film.yaml", workplace / "film.luthier.yaml").untrainable[0]
    with pytest.raises(UserError, match="user_tag must be human or user"):
        written(workplace, "odd.yaml", job + "odd\n")
    assert "num_samples: 5" in written(workplace, "part.yaml", job + "part\n")[2]


def test_credentials_are_never_shown_and_a_key_cannot_write_lines(workplace: Path) -> None:
    secret = "sk-proj-abcdefghijklmnop"
    text = (
        "base_model: x/y\nsequence_len: 64\nmicro_batch_size: 1\nadapter: lora\n"
        "datasets: [{path: data/support.jsonl, type: chat_template}]\n"
        f"comet_api_key: {secret}\nhf_token: {secret}\nenv: {{HF_TOKEN: {secret}, OTHER: {secret}}}\nsome_url: https://me:{secret}@host/x\n"
        f"swanlab_lark_secret: {secret}\nnotes: the key is {secret}\n"
        '"odd\\nbase: evil": 1\n'
    )
    project, lines, file = written(workplace, "s.yml", text)
    assert secret not in file
    assert secret not in repr(lines)
    assert lines["hf_token"].value == lines["env.OTHER"].value == "(hidden)"
    assert project["base"] == "x/y"


def test_a_base_beside_the_job_is_named_from_the_project(workplace: Path, learner_base: Path) -> None:
    (workplace / "models").symlink_to(learner_base.parent)
    (workplace / "out").mkdir()
    text = f"base_model: models/{learner_base.name}\nsequence_len: 64\nadapter: lora\ndatasets: [{{{CHAT}}}]\n"
    (workplace / "b.yml").write_text(text, encoding="utf-8")
    import_job(workplace / "b.yml", workplace / "out" / "luthier.yaml")
    project = load_project(workplace / "out" / "luthier.yaml")
    assert project.base == f"../models/{learner_base.name}"
    assert project.data.files[0].path == "../data/support.jsonl"


def test_an_open_model_of_an_openai_job_is_the_base(workplace: Path) -> None:
    job = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "training_file": "data/support.jsonl"}
    project, lines, _ = written(workplace, "o.json", json.dumps(job))
    assert (project["base"], lines["model"].fate) == ("smollm2-135m-instruct", "changed")


@pytest.mark.parametrize("sample", TRAINABLE)
def test_each_result_trains(workplace: Path, sample: str, learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    runner = CliRunner()
    done = runner.invoke(app, ["import", sample, "--json"])
    assert done.exit_code == 0, done.output
    toy = [f"base={learner_base}", "train.steps=2", "train.epochs=null", "train.evaluations=1", "train.train_sample=0"]
    sizes = ["split.test=4", "split.validation=4", "execution.threads=1"]
    planned = runner.invoke(app, ["plan", *toy, *sizes])
    assert planned.exit_code == 0, planned.output
    trained = runner.invoke(app, ["train", *toy, *sizes, "--json"])
    assert trained.exit_code == 0, trained.output
    document = json.loads(trained.stdout)
    assert document["checkpoint"]["steps"] == 2
    assert (Path(document["folder"]) / "adapter" / "adapter_model.safetensors").is_file()


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
        "rank.yaml": (
            "base_model: x\nlora_r: many\nsequence_len: 9\nadapter: lora\ndatasets: [{path: data/support.jsonl, type: alpaca}]",
            "whole number.*lora_r",
        ),
        "sets.yaml": ("base_model: x\nsequence_len: 9\nadapter: lora\ndatasets: data/support.jsonl\n", "a list of data sets"),
        "turns.yaml": (
            "base_model: x\nsequence_len: 9\ndatasets: [{path: a.jsonl, type: chat_template, message_field_role: speaker}]",
            "role of a turn must be named",
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
