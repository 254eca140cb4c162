"""TRL's command-line YAML (`trl sft --config`): TrainingArguments with `dataset_name`, `use_peft` and `max_length`.

One decision: the defaults written out are those of SFTConfig and ModelConfig; a file of another trainer (DPO, GRPO ...) is
known by its own settings and said to be untrainable.
"""

from __future__ import annotations

from typing import Any

from luthier.core.errors import UserError
from luthier.pipeline import import_trainer as trainer
from luthier.pipeline.import_data import DataFile, carry_base, carry_files
from luthier.pipeline.import_job import Job, shown

NAME = "trl"
_OWN = ("use_peft", "dataset_name", "max_length", "max_seq_length", "dataset_text_field", "lora_target_modules", "model_name_or_path",
        "assistant_only_loss", "completion_only_loss", "dataset_train_split")  # fmt: skip
_LORA = trainer.Names("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
_OTHER_TRAINERS = {
    "beta": "preference training", "loss_type": "another loss than supervised fine-tuning", "num_generations": "GRPO",
    "reward_model_name_or_path": "training on rewards", "reward_funcs": "training on rewards",
}  # fmt: skip
_SUPERVISED_LOSSES = ("nll",)


def fits(data: dict[str, Any]) -> int:
    """How many of TRL's own keys the file has."""
    return sum(k in data for k in _OWN)


def carry(job: Job) -> None:
    """Everything that a project has a place for."""
    carry_base(job, "model_name_or_path")
    carry_files(job, _files(job), "dataset_name")
    _method(job)
    job.carry("learning_rate", "train.learning_rate", 2e-5, "SFTConfig's default")
    trainer.carry_optimiser(job, "optim", "adamw_torch", ("weight_decay", 0.0))
    trainer.carry_schedule(job, "lr_scheduler_type", "linear")
    trainer.carry_length(job, "num_train_epochs", 3.0)
    trainer.carry_batch(job, "per_device_train_batch_size", 8)
    trainer.carry_validation(job, "val_size")
    trainer.carry_early_stopping(job, "early_stopping_patience")
    key = "max_length" if job.get("max_length") else "max_seq_length"
    job.carry(key, "prepare.max_length", 1024, "SFTConfig's default")
    job.add("prepare.too_long", "cut_end", "as TRL, which cuts at max_length")
    job.carry("seed", "train.seed", 42, "TrainingArguments' default")
    _rest(job)


def _method(job: Job) -> None:
    if job.get("use_peft"):
        trainer.carry_lora(job, _LORA, 16, 32)
        job.carry_as("use_peft", "train.method.kind", "lora")
    else:
        trainer.carry_full(job, "use_peft")
    for key in ("load_in_4bit", "load_in_8bit"):
        trainer.carry_quantised(job, key)
    for key, what in _OTHER_TRAINERS.items():
        if job.get(key) is not None and job.get(key) not in _SUPERVISED_LOSSES:
            job.stop(key, what)
    job.seen("loss_type")


def _files(job: Job) -> list[DataFile]:
    """The mixture in `datasets`, or `dataset_name`; the columns tell the form, as in TRL."""
    listed = job.get("datasets")
    if listed is None:
        name = job.get("dataset_name")
        return [DataFile(str(name), None, "any", "dataset_name")] if name else []
    if not isinstance(listed, list):
        raise UserError("a list of data sets is wanted", shown(listed), "datasets")
    files = []
    for i, entry in enumerate(listed):
        if not isinstance(entry, dict) or not entry.get("path"):
            raise UserError("a data set must have a path", shown(entry), f"datasets.{i}")
        path = entry.get("data_files") or entry["path"]
        files += [DataFile(str(p), None, "any", "datasets") for p in (path if isinstance(path, list) else [path])]
    return files


def _rest(job: Job) -> None:
    job.ignore(
        ("dataset_train_split", "dataset_test_split", "dataset_streaming", "lora_task_type", "model_revision"), "says where to find it"
    )
    job.leave("dataset_config", "names a part of a hub data set: fetch that part")
    if job.get("assistant_only_loss") or job.get("completion_only_loss"):
        job.ignore(("assistant_only_loss", "completion_only_loss"), "Luthier trains on answers only")
    else:
        job.add("prepare.train_on", "answers", "TRL trains on every token of a conversation unless told otherwise; Luthier on answers only")
        job.seen("assistant_only_loss", "completion_only_loss")
    job.leave("dataset_text_field", "rows of plain text are not trained on")
    job.leave("chat_template_path", "Luthier uses the model's own chat template")
    job.leave("eos_token", "Luthier uses the model's own end of turn")
    job.leave("lora_modules_to_save", "only LoRA matrices are trained")
    trainer.carry_rest(job)
