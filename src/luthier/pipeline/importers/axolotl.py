"""Axolotl's YAML: `base_model`, `datasets` with a `type`, `adapter`, `micro_batch_size`.

One decision: a row that is longer than `sequence_len` is dropped, as Axolotl does, unless the job asks for cutting.
"""

from __future__ import annotations

from typing import Any

from luthier.core.errors import UserError
from luthier.pipeline import import_trainer as trainer
from luthier.pipeline.import_data import DataFile, carry_base, carry_files
from luthier.pipeline.import_job import Job, Line, shown

NAME = "axolotl"
_OWN = ("base_model", "datasets", "sequence_len", "micro_batch_size", "adapter", "val_set_size", "lora_r", "num_epochs", "sample_packing")
_LORA = trainer.Names("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "peft_use_rslora", "peft_use_dora")
_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_NO_EFFECT = (
    "model_type", "tokenizer_type", "dataset_prepared_path", "is_llama_derived_model", "is_mistral_derived_model", "is_qwen_derived_model",
    "strict", "evals_per_epoch", "saves_per_epoch", "eval_max_new_tokens", "eval_table_size", "debug", "local_rank", "xformers_attention",
    "sdp_attention", "s2_attention", "flash_attn_cross_entropy", "lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel",
    "dataset_processes", "shuffle_merged_datasets", "train_on_inputs_default", "auto_resume_from_checkpoints",
)  # fmt: skip


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
    trainer.carry_schedule(job, "lr_scheduler", "cosine")
    trainer.carry_length(job, "num_epochs", 1)
    trainer.carry_batch(job, "micro_batch_size", 1)
    trainer.carry_validation(job, "val_set_size")
    trainer.carry_early_stopping(job, "early_stopping_patience")
    job.carry("sequence_len", "prepare.max_length", 512, "Axolotl's default")
    cut = job.get("excess_length_strategy") == "truncate"
    key = "excess_length_strategy"
    job.carry_as(key, "prepare.too_long", "cut_end" if cut else "drop") if job.get(key) else job.add(
        "prepare.too_long", "drop", "as Axolotl"
    )
    job.carry("seed", "train.seed", 42, "Axolotl's default")
    _text(job)
    _rest(job)


def _method(job: Job) -> None:
    adapter = job.get("adapter")
    if adapter in ("lora", "qlora"):
        trainer.carry_lora(job, _LORA, 8, 16)
        job.carry_as("adapter", "train.method.kind", "lora")
    elif adapter is None:
        trainer.carry_full(job, "adapter")
    else:
        job.stop("adapter", f"the adapter {adapter}: the project trains LoRA instead")
    for key in ("load_in_4bit", "load_in_8bit"):
        trainer.carry_quantised(job, key)
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
            path = entry.get("data_files") or entry["path"]
            for one in path if isinstance(path, list) else [path]:
                files.append(DataFile(str(one), _mapping(entry), split, section))
            known = ("path", "type", "ds_type", "data_files", "split", "field_messages", "message_field_role", "message_field_content",
                     "message_property_mappings", "field", "roles_to_train", "train_on_eos", "roles")  # fmt: skip
            for key in entry.keys() - set(known):
                job.lines.append(Line(f"{section}.{i}.{key}", shown(entry[key]), "not carried", "", "no counterpart for one data set"))
    return files


def _mapping(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Axolotl's dataset type as a mapping; None when only the columns can tell."""
    kind = entry.get("type")
    if isinstance(kind, dict):
        return {
            "kind": "alpaca",
            "instruction": kind.get("field_instruction", "instruction"),
            "output": kind.get("field_output", "output"),
            "input": kind.get("field_input", "input"),
        }
    name = str(kind or "").split(".")[0].split(":")[0]
    roles = entry.get("message_property_mappings") or {}
    role = entry.get("message_field_role") or roles.get("role", "role")
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
    job.leave("train_on_inputs", "Luthier trains on answers only")
    if job.get("chat_template") in ("tokenizer_default", "tokenizer_default_fallback_chatml"):
        job.ignore(("chat_template",), "the model's own template is what Luthier uses")
    else:
        job.leave("chat_template", "Luthier uses the model's own chat template")
    job.leave("chat_template_jinja", "Luthier uses the model's own chat template")
    job.leave("special_tokens", "the tokenizer is taken as it is")
    job.leave("tokens", "no tokens are added to the tokenizer")
    job.leave("default_system_message", "put it into data.prompt.system")


def _rest(job: Job) -> None:
    job.ignore(_NO_EFFECT)
    trainer.carry_rest(job)
    job.leave("plugins", "Axolotl's plugins are not run")
    job.leave("noisy_embedding_alpha", "embedding noise is not in the project file")
