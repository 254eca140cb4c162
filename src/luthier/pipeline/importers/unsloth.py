"""Unsloth's settings: the flat names of its command line (`r`, `max_seq_length`, `random_state`), or sections of a training config.

One decision: a file in sections (`model`, `data`, `training`, `lora`) is read through the same names, each under its section.
"""

from __future__ import annotations

from typing import Any

from luthier.pipeline import import_trainer as trainer
from luthier.pipeline.import_data import DataFile, carry_base, carry_files
from luthier.pipeline.import_job import Job

NAME = "unsloth"
_FLAT = ("r", "model_name", "max_seq_length", "random_state", "load_in_4bit", "use_gradient_checkpointing", "loftq_config", "save_method")
_SECTIONS = ("model", "data", "training", "lora")
_ALIASES = {
    "model": "model_name", "data.dataset": "dataset", "data.local_dataset": "local_dataset", "data.format_type": "format_type",
       "training.training_type": "training_type", "training.num_epochs": "num_train_epochs",
    "training.batch_size": "per_device_train_batch_size",
    "training.random_seed": "seed", "training.train_on_completions": "train_on_completions", "lora.lora_r": "r",
    "training.gradient_checkpointing": "use_gradient_checkpointing", "training.optimizer": "optim", "lora.rank": "r",
}  # fmt: skip
_SAVING = (
    "save_model",
    "save_path",
    "save_method",
    "save_gguf",
    "quantization",
    "push_model",
    "push_gguf",
    "hub_path",
    "hub_token",
    "logging",
)
_FORMATS = {"alpaca": {"kind": "alpaca"}, "sharegpt": {"kind": "sharegpt"}, "chatml": {"kind": "messages"}}


def fits(data: dict[str, Any]) -> int:
    """How many of Unsloth's own keys the file has; a file in its sections counts as more."""
    sections = sum(isinstance(data.get(s), dict) for s in _SECTIONS)
    return sum(k in data for k in _FLAT) + (4 if sections >= 2 and ("model" in data or "lora" in data) else 0)


def carry(job: Job) -> None:
    """Everything that a project has a place for."""
    job.data = _flat(job.data)
    carry_base(job, "model_name")
    carry_files(job, _files(job), "dataset")
    if job.get("training_type", "lora") == "full" or job.get("full_finetuning"):
        trainer.carry_full(job, "training_type" if job.get("training_type") else "full_finetuning")
    else:
        names = trainer.Names("r", "lora_alpha", "lora_dropout", "target_modules")
        trainer.carry_lora(job, names, 16, 16)
        job.ignore(("training_type",), "LoRA is what the project trains")
    for key in ("load_in_4bit", "load_in_8bit"):
        trainer.carry_quantised(job, key)
    job.carry("learning_rate", "train.learning_rate", 2e-4, "Unsloth's default")
    trainer.carry_optimiser(job, "optim", "adamw_8bit", ("weight_decay", 0.01))
    trainer.carry_schedule(job, "lr_scheduler_type", "linear")
    trainer.carry_length(job, "num_train_epochs", 1.0)
    trainer.carry_batch(job, "per_device_train_batch_size", 2, default_accumulation=4)
    trainer.carry_validation(job, "val_size")
    trainer.carry_early_stopping(job, "early_stopping_patience")
    job.carry("max_seq_length", "prepare.max_length", 2048, "Unsloth's default")
    job.add("prepare.too_long", "cut_end", "as Unsloth, which cuts at max_seq_length")
    job.carry("seed", "train.seed", 3407, "Unsloth's default")
    _rest(job)


def _flat(data: dict[str, Any]) -> dict[str, Any]:
    """Sections opened: `training.learning_rate` -> `learning_rate`, with Unsloth's flat names."""
    out: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and key in (*_SECTIONS, "logging"):
            for name, inner in value.items():
                out[_ALIASES.get(f"{key}.{name}", str(name))] = inner
        else:
            out[_ALIASES.get(str(key), str(key))] = value
    return out


def _files(job: Job) -> list[DataFile]:
    mapping = _FORMATS.get(str(job.get("format_type", "")))
    local, named = job.get("local_dataset"), job.get("dataset")
    paths = [(p, "local_dataset") for p in (local if isinstance(local, list) else [local] if local else [])]
    paths += [(named, "dataset")] if named else []
    return [DataFile(str(path), mapping, "any", key) for path, key in paths]


def _rest(job: Job) -> None:
    if job.get("train_on_completions") is False:
        job.leave("train_on_completions", "off")
    job.ignore(("train_on_completions", "format_type", "raw_text_file"), "Luthier trains on answers only")
    job.leave("loftq_config", "LoRA starts from PEFT's usual weights")
    if job.get("bias") not in (None, "none"):
        job.leave("bias", "only LoRA matrices are trained")
    job.ignore(("bias", "random_state", "use_gradient_checkpointing", "layer_replication"))
    job.ignore(_SAVING, "`luthier export` writes the formats")
    trainer.carry_rest(job)
