"""Axolotl's YAML: `base_model`, `datasets` with a `type`, `adapter`, `micro_batch_size`.

One decision: a row that is longer than `sequence_len` is dropped, as Axolotl does, unless the job asks for cutting.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from luthier.core.errors import UserError
from luthier.pipeline import import_trainer as trainer
from luthier.pipeline.import_data import DataFile, carry_base, carry_files
from luthier.pipeline.import_job import Job, shown
from luthier.pipeline.import_quantised import FourBit, carry_four_bit

NAME = "axolotl"
_OWN = ("base_model", "datasets", "sequence_len", "micro_batch_size", "adapter", "val_set_size", "lora_r", "num_epochs", "sample_packing")
_FOUR_BIT = FourBit(section="bnb_config_kwargs.")
_LORA = trainer.Lora(
    "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "peft_use_rslora", "peft_use_dora",
    default_rank=8, default_alpha=8,
)  # fmt: skip
_DECLARED = ("type", "field_messages", "field", "message_field_role", "message_property_mappings", "message_field_content")
_ROLES = {"role": ("role", "from"), "content": ("content", "value")}
_NO_EFFECT = (
    "model_type",
    "tokenizer_type",
    "dataset_prepared_path",
    "is_llama_derived_model",
    "is_mistral_derived_model",
    "is_qwen_derived_model",
    "strict",
    "evals_per_epoch",
    "saves_per_epoch",
    "eval_max_new_tokens",
    "eval_table_size",
    "debug",
    "local_rank",
    "dataset_processes",
    "shuffle_merged_datasets",
    "auto_resume_from_checkpoints",
    "save_first_step",
    "use_tensorboard",
    "mlflow_tracking_uri",
    "mlflow_experiment_name",
    "use_mlflow",
    "profiler_steps",
    "gc_steps",
    "low_cpu_mem_usage",
    "include_tkps",
    "dataset_keep_in_memory",
    "skip_prepare_dataset",
    "device_map",
    "hf_use_auth_token",
    "lora_fan_in_fan_out",
    "use_otel_metrics",
)
_SAME_NUMBERS = re.compile(
    r"liger_|flash_attn|.*_attention$|(.*_)?kernels?$|use_(scatter|sonic)moe|(cut|chunked)_cross_entropy|tiled_mlp|attn_"
)
"""Settings that make the same step faster."""
_LOGGING = re.compile(r"swanlab_|use_swanlab|comet_|use_comet|trackio_|use_trackio|gradio_|otel_|generation_|generate_samples|hf_mlflow")
_LEFT = {
    "chat_template_jinja": "Luthier uses the model's own chat template", "eot_tokens": "Luthier uses the model's own end of turn",
    "special_tokens": "the tokenizer is taken as it is", "tokens": "no tokens are added to the tokenizer",
    "default_system_message": "put it into data.prompt.system", "min_sample_len": "rows are not dropped for being short",
    "train_on_inputs": "Luthier trains on answers only", "plugins": "Axolotl's plugins are not run",
    "loss_watchdog_threshold": "a high loss does not end training", "loss_watchdog_patience": "a high loss does not end training",
    "unfrozen_parameters": "the method says which weights are trained", "lora_target_parameters": "LoRA is put on layers, by their names",
    "dataset_exact_deduplication": "copies are kept unless they are on both sides of a split", "dp_shard_size": "one process a project",
    "qat": "weights are trained in float32", "quantization": "`luthier export --to gguf` writes smaller weights",
    "trl": "belongs to preference training", "vllm": "belongs to preference training", "ebft": "belongs to another kind of training",
}  # fmt: skip


def fits(data: dict[str, Any]) -> int:
    """How many of Axolotl's own keys the file has."""
    return sum(k in data for k in _OWN)


def carry(job: Job) -> None:
    """Everything that a project has a place for."""
    carry_base(job, "base_model")
    carry_files(job, _files(job), "datasets")
    _method(job)
    job.carry("learning_rate", "train.learning_rate", 2e-4, "Luthier's default: Axolotl has none")
    trainer.carry_optimiser(job, "optimizer", "adamw_torch", ("weight_decay", 0.0))
    trainer.carry_schedule(job, "lr_scheduler", "cosine", ("warmup_ratio", 0.03))
    trainer.carry_length(job, "num_epochs", 1)
    _batch(job)
    trainer.carry_validation(job, "val_set_size")
    trainer.carry_early_stopping(job, "early_stopping_patience")
    job.carry("sequence_len", "prepare.max_length", 512, "Axolotl's default")
    excess = str(job.get("excess_length_strategy", ""))
    if excess:
        job.carry_as("excess_length_strategy", "prepare.too_long", {"truncate": "cut_end", "raise": "error"}.get(excess, "drop"))
    else:
        job.add("prepare.too_long", "drop", "as Axolotl")
    job.carry("seed", "train.seed", 42, "Axolotl's default")
    _text(job)
    _rest(job)


def _batch(job: Job) -> None:
    """`batch_size` is the whole batch of a step: it gives the accumulation where that is missing (Axolotl: normalize_config)."""
    if job.get("batch_size") and not job.get("gradient_accumulation_steps"):
        job.carry("batch_size", "train.batch_size")
        job.ignore(("micro_batch_size",), "batch_size is the whole batch")
        return
    trainer.carry_batch(job, "micro_batch_size", 1)
    job.ignore(("batch_size",), "micro_batch_size and gradient_accumulation_steps say it")


def _method(job: Job) -> None:
    adapter = job.get("adapter")
    if adapter in ("lora", "qlora"):
        job.carry_as("adapter", "train.method.kind", trainer.carry_lora(job, replace(_LORA, default_four_bit=adapter == "qlora")))
    elif adapter is None:
        trainer.carry_full(job, "adapter")
    else:
        job.stop("adapter", f"the adapter {adapter}: the project trains LoRA instead")
    carry_four_bit(job, _FOUR_BIT)
    job.leave("gptq", "the base is taken as it is stored")
    if job.get("lora_target_linear"):
        job.carry_as("lora_target_linear", "train.method.targets", "all-linear")
    job.leave("lora_modules_to_save", "only LoRA matrices are trained")
    job.leave("lora_model_dir", "training starts from a fresh adapter")
    if job.get("rl"):
        job.stop("rl", f"preference training ({job.get('rl')})")
    if job.get("pretraining_dataset"):
        job.stop("pretraining_dataset", "continued pre-training on raw text")
    if job.get("processor_type"):
        job.stop("processor_type", "pictures and sound")


def _files(job: Job) -> list[DataFile]:
    files = []
    for section, split in (("datasets", "any"), ("test_datasets", "validation")):
        listed = job.get(section, [])
        if not isinstance(listed, list):
            raise UserError("a list of data sets is wanted", shown(listed), section)
        for i, entry in enumerate(listed):
            if not isinstance(entry, dict) or not entry.get("path"):
                raise UserError("a data set must have a path", shown(entry), f"{section}.{i}")
            key = f"{section}.{i}.{'data_files' if entry.get('data_files') else 'path'}"
            path = job.get(key)
            mapping = _mapping(entry)
            files += [DataFile(str(one), mapping, split, key) for one in (path if isinstance(path, list) else [path])]
            _account(job, f"{section}.{i}", entry, mapping)
    return files


def _account(job: Job, place: str, entry: dict[str, Any], mapping: dict[str, Any] | None) -> None:
    """A line for every setting of one data set."""
    kind = entry.get("type")
    to = f"data.mapping = {mapping['kind']}" if mapping else "data.mapping"
    own_format = mapping is not None and mapping["kind"] == "alpaca"
    note = "the columns tell" if mapping is None else "asked through the model's chat template, not in Axolotl's own format" * own_format
    for key in entry.keys() - {"path", "data_files"}:
        path, value = f"{place}.{key}", entry[key]
        if key == "type" and not isinstance(kind, dict):
            job.line(path, "changed", to, note)
        elif key == "type":
            for name in entry["type"]:
                if name in ("field_instruction", "field_input", "field_output", "field_system"):
                    job.line(f"{path}.{name}", "changed", to)
                else:
                    job.line(f"{path}.{name}", "not carried", "", "put it into data.prompt")
        elif key in _DECLARED:
            job.line(path, "changed", to)
        elif key == "ds_type" or (key, value) in (("split", "train"), ("roles_to_train", ["assistant"]), ("train_on_eos", "turn")):
            job.line(path, "no effect", "", "as Luthier does it")
        else:
            why = "a part of a data set: cut the file yourself" if key == "split" else "no counterpart for one data set"
            job.leave(path, why)
    if entry.get("data_files"):
        job.ignore((f"{place}.path",), "data_files names the files")


def _mapping(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Axolotl's dataset type as a mapping; None when only the columns can tell. Raises UserError for turns under other names."""
    kind = entry.get("type")
    if isinstance(kind, dict):
        columns = {name: kind.get(f"field_{name}", name) for name in ("instruction", "output", "input")}
        return {"kind": "alpaca"} | columns | ({"system": kind["field_system"]} if kind.get("field_system") else {})
    name = str(kind or "").split(".")[0].split(":")[0]
    renamed = entry.get("message_property_mappings") or {}
    role = entry.get("message_field_role") or renamed.get("role", "role")
    content = entry.get("message_field_content") or renamed.get("content", "content")
    for part, given in (("role", role), ("content", content)):
        if given not in _ROLES[part]:
            fix = "rename them in the data file"
            raise UserError(f"the {part} of a turn must be named {' or '.join(_ROLES[part])}", shown(given), "datasets", fix)
    if name == "sharegpt" or (name == "chat_template" and role == "from"):
        return {"kind": "sharegpt", "conversations": entry.get("field_messages", "conversations")}
    if name == "chat_template":
        return {"kind": "messages", "messages": entry.get("field_messages", "messages")}
    if name in ("alpaca", "alpaca_chat"):
        return {"kind": "alpaca"}
    if name == "completion":
        return {"kind": "text", "text": entry.get("field", "text")}
    return None


def _text(job: Job) -> None:
    if job.get("chat_template") in ("tokenizer_default", "tokenizer_default_fallback_chatml"):
        job.ignore(("chat_template",), "the model's own template is what Luthier uses")
    else:
        job.leave("chat_template", "Luthier uses the model's own chat template")
    for key, why in _LEFT.items():
        job.leave(key, why)


def _rest(job: Job) -> None:
    job.ignore(_NO_EFFECT)
    job.ignore(tuple(k for k in job.data if _SAME_NUMBERS.match(k)), "another way to the same numbers")
    job.ignore(tuple(k for k in job.data if _LOGGING.match(k)))
    if job.get("adapter") not in ("lora", "qlora"):
        job.ignore(("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"), "LoRA is not trained in this job")
    trainer.carry_rest(job)
