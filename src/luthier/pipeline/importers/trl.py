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
from luthier.pipeline.import_quantised import FourBit, carry_four_bit

NAME = "trl"
_OWN = ("use_peft", "dataset_name", "max_length", "max_seq_length", "dataset_text_field", "lora_target_modules", "model_name_or_path",
        "assistant_only_loss", "completion_only_loss", "dataset_train_split")  # fmt: skip
_FOUR_BIT = FourBit(double="use_bnb_nested_quant", default_double=False)
_LORA = trainer.Lora(
    "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules",
    default_rank=16, default_alpha=32, default_dropout=0.05, default_targets=("q_proj", "v_proj"),
)  # fmt: skip
_OTHER_TRAINERS = {
    "beta": "preference training", "num_generations": "GRPO",
    "reward_model_name_or_path": "training on rewards", "reward_funcs": "training on rewards",
}  # fmt: skip
_SUPERVISED_LOSSES = ("nll", "chunked_nll")
"""The same loss, computed whole or in chunks."""


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
    trainer.carry_validation(job, "test_split_size")
    job.add("train.early_stopping", None, "TRL trains to the end")
    _length(job)
    job.carry("seed", "train.seed", 42, "TrainingArguments' default")
    _rest(job)


def _method(job: Job) -> None:
    if job.get("use_peft"):
        job.carry_as("use_peft", "train.method.kind", trainer.carry_lora(job, _LORA))
    else:
        trainer.carry_full(job, "use_peft")
    carry_four_bit(job, _FOUR_BIT)
    for key, what in _OTHER_TRAINERS.items():
        if job.get(key) is not None:
            job.stop(key, what)
    loss = job.get("loss_type")
    if loss in _SUPERVISED_LOSSES:
        job.ignore(("loss_type",), "the loss of supervised fine-tuning")
    elif loss is not None:
        job.stop("loss_type", f"the loss {shown(loss)}")


def _length(job: Job) -> None:
    """max_length, where null is no limit; `max_seq_length` in files of older versions."""
    key = "max_length" if "max_length" in job.data or "max_seq_length" not in job.data else "max_seq_length"
    if key in job.data and job.data[key] is None:
        job.line(key, "carried", "prepare.max_length", "no limit but the model's context")
        return
    job.carry(key, "prepare.max_length", 1024, "SFTConfig's default")
    if job.get("truncation_mode") == "keep_end":
        job.carry_as("truncation_mode", "prepare.too_long", "cut_start")
        return
    job.ignore(("truncation_mode",), "rows are cut at their end")
    job.add("prepare.too_long", "cut_end", "as TRL, which cuts at max_length")


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
        key = f"datasets.{i}.{'data_files' if entry.get('data_files') else 'path'}"
        path = job.get(key)
        files += [DataFile(str(p), None, "any", key) for p in (path if isinstance(path, list) else [path])]
        if entry.get("data_files"):
            job.ignore((f"datasets.{i}.path",), "data_files names the files")
        for name in entry.keys() - {"path", "data_files"}:
            if (name, entry[name]) == ("split", "train"):
                job.line(f"datasets.{i}.{name}", "no effect", "", "the whole file is used")
            else:
                job.leave(f"datasets.{i}.{name}", "no counterpart for one data set: cut the file yourself")
    return files


def _rest(job: Job) -> None:
    job.ignore(
        ("dataset_train_split", "dataset_test_split", "dataset_streaming", "lora_task_type", "model_revision"), "says where to find it"
    )
    job.leave("dataset_config", "names a part of a hub data set: fetch that part")
    _trained_tokens(job)
    job.leave("env", "environment variables are yours to set")
    job.leave("model_init_kwargs", "the base is loaded as it is stored")
    job.leave("router_aux_loss_coef", "mixtures of experts have no loss of their own here")
    job.leave("lora_target_parameters", "LoRA is put on layers, by their names")
    job.ignore(("shuffle_dataset", "streaming"), "rows are shuffled by train.seed")
    job.leave("dataset_text_field", "rows of plain text are not trained on")
    job.leave("chat_template_path", "Luthier uses the model's own chat template")
    job.leave("eos_token", "Luthier uses the model's own end of turn")
    job.leave("lora_modules_to_save", "only LoRA matrices are trained")
    trainer.carry_rest(job)


def _trained_tokens(job: Job) -> None:
    """Which tokens are trained: in TRL a conversation is trained whole unless told otherwise, a completion alone."""
    note = "Luthier trains on answers only"
    for key in ("assistant_only_loss", "completion_only_loss"):
        if job.get(key):
            job.ignore((key,), note)
        elif job.get(key) is False:
            job.line(key, "not carried", "", note)
    if not job.get("assistant_only_loss") and not job.get("completion_only_loss"):
        job.add("prepare.train_on", "answers", "TRL trains conversations whole unless told otherwise, and completions alone")
