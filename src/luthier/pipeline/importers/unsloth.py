"""Unsloth's settings: sections of its training config (`model`, `data`, `training`, `lora`), or the flat names of its older command line.

One decision: the two forms have different defaults (rank 64 and 3 epochs; rank 16 and 400 steps), so each has its own table;
sections are read through the flat names, and every line still names the place in the file.
"""

from __future__ import annotations

from typing import Any

from luthier.pipeline import import_trainer as trainer
from luthier.pipeline.import_data import DataFile, carry_base, carry_files
from luthier.pipeline.import_job import Job
from luthier.pipeline.import_quantised import FourBit, carry_four_bit

NAME = "unsloth"
_FLAT = ("r", "model_name", "max_seq_length", "random_state", "load_in_4bit", "use_gradient_checkpointing", "loftq_config", "save_method")
_SECTIONS = ("data", "training", "lora", "logging")
_ALIASES = {
    "model": "model_name", "training.num_epochs": "num_train_epochs", "training.batch_size": "per_device_train_batch_size",
    "training.random_seed": "seed", "lora.lora_r": "r", "training.gradient_checkpointing": "use_gradient_checkpointing",
}  # fmt: skip
_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_NAMES = ("r", "lora_alpha", "lora_dropout", "target_modules")
_LORA_IN_SECTIONS = trainer.Lora(*_NAMES, default_four_bit=True, default_rank=64, default_alpha=16, default_targets=_LINEAR)
_LORA_FLAT = trainer.Lora(*_NAMES, default_rank=16, default_alpha=16, default_targets=_LINEAR)
_FLAT_STEPS, _EPOCHS_IN_SECTIONS, _WARMUP_STEPS = 400, 3, 5
_SAVING = (
    "save_model", "save_path", "save_method", "save_gguf", "quantization", "push_model", "push_gguf", "hub_path", "hub_token",
    "enable_wandb", "wandb_token", "hf_token", "enable_tensorboard", "tensorboard_dir",
)  # fmt: skip
_FORMATS = {"alpaca": {"kind": "alpaca"}, "sharegpt": {"kind": "sharegpt"}, "chatml": {"kind": "messages"}}


def fits(data: dict[str, Any]) -> int:
    """How many of Unsloth's own keys the file has; a file in its sections counts as more."""
    sections = sum(isinstance(data.get(s), dict) for s in _SECTIONS)
    return sum(k in data for k in _FLAT) + (4 if sections >= 2 and ("model" in data or "lora" in data) else 0)


def carry(job: Job) -> None:
    """Everything that a project has a place for."""
    in_sections = any(isinstance(job.data.get(s), dict) for s in _SECTIONS)
    _flatten(job)
    carry_base(job, "model_name")
    carry_files(job, _files(job), "dataset")
    _method(job, _LORA_IN_SECTIONS if in_sections else _LORA_FLAT)
    job.carry("learning_rate", "train.learning_rate", 2e-4, "Unsloth's default")
    trainer.carry_optimiser(job, "optim", "adamw_8bit", ("weight_decay", 0.01))
    trainer.carry_schedule(job, "lr_scheduler_type", "linear", ("warmup_steps", _WARMUP_STEPS))
    if in_sections or job.get("max_steps") is not None or job.get("num_train_epochs") is not None:
        trainer.carry_length(job, "num_train_epochs", _EPOCHS_IN_SECTIONS)
    else:
        job.add("train.steps", _FLAT_STEPS, "Unsloth's default")
    trainer.carry_batch(job, "per_device_train_batch_size", 2, default_accumulation=4)
    trainer.carry_validation(job, None)
    job.add("train.early_stopping", None, "Unsloth trains to the end")
    job.carry("max_seq_length", "prepare.max_length", 2048, "Unsloth's default")
    job.add("prepare.too_long", "cut_end", "as Unsloth, which cuts at max_seq_length")
    job.carry("seed", "train.seed", 3407, "Unsloth's default")
    _rest(job)


def _flatten(job: Job) -> None:
    """Sections opened: `training.learning_rate` is read as `learning_rate`, with Unsloth's flat names."""
    out: dict[str, Any] = {}
    for key, value in job.data.items():
        inner = value if isinstance(value, dict) and key in _SECTIONS else {"": value}
        for name, one in inner.items():
            path = f"{key}.{name}" if name else str(key)
            flat = _ALIASES.get(path, str(name) or str(key))
            out[flat], job.paths[flat] = one, path
    job.data = out


def _method(job: Job, names: trainer.Lora) -> None:
    if job.get("training_type", "lora") == "full" or job.get("full_finetuning"):
        trainer.carry_full(job, "training_type" if job.get("training_type") else "full_finetuning")
        job.ignore((*_NAMES, "use_rslora", "use_dora", "use_loftq"), "LoRA is not trained in this job")
    else:
        trainer.carry_lora(job, names)
        job.ignore(("training_type", "full_finetuning"), "LoRA is what the project trains")
        for key in ("use_loftq", "loftq_config", "init_lora_weights"):
            job.leave(key, "LoRA starts from PEFT's usual weights")
    carry_four_bit(job, FourBit())
    if job.get("bias") == "none":
        job.ignore(("bias",), "no bias is trained")
    else:
        job.leave("bias", "only LoRA matrices are trained")


def _files(job: Job) -> list[DataFile]:
    form = str(job.get("format_type", ""))
    mapping = _FORMATS.get(form)
    if mapping:
        job.carry_as("format_type", "data.mapping", mapping, "asked through the model's chat template")
    else:
        job.ignore(("format_type",), "the columns tell")
    local, named = job.get("local_dataset"), job.get("dataset")
    paths = [(p, "local_dataset") for p in (local if isinstance(local, list) else [local] if local else [])]
    paths += [(named, "dataset")] if named else []
    return [DataFile(str(path), mapping, "any", key) for path, key in paths]


def _rest(job: Job) -> None:
    note = "Luthier trains on answers only"
    if job.get("train_on_completions"):
        job.ignore(("train_on_completions",), note)
    elif job.get("train_on_completions") is False:
        job.line("train_on_completions", "not carried", "", f"{note}: Unsloth would train on the prompts too")
    else:
        job.add("prepare.train_on", "answers", "Unsloth trains on prompts too unless told otherwise; Luthier on answers only")
    if job.get("raw_text_file"):
        job.stop("raw_text_file", "continued pre-training on raw text")
    for key in ("finetune_language_layers", "finetune_attention_modules", "finetune_mlp_modules"):
        if job.get(key) is False:
            job.line(key, "not carried", "", "name the layers in train.method.targets")
        else:
            job.ignore((key,), "the targets say which layers")
    job.ignore(("finetune_vision_layers", "vision_all_linear"), "a text model has no vision layers")
    job.ignore(("random_state", "use_gradient_checkpointing", "layer_replication"))
    job.ignore(_SAVING, "logging, and formats that `luthier export` writes")
    job.ignore(("chunk_size", "stride"), "of raw text only")
    trainer.carry_rest(job)
