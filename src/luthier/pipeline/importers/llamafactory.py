"""LLaMA-Factory's YAML: `stage`, `finetuning_type`, `dataset` by name in `dataset_info.json`, `cutoff_len`.

One decision: a data set's name is looked up in `dataset_info.json` of `dataset_dir`, because the name alone says neither
the file nor its form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.pipeline import import_trainer as trainer
from luthier.pipeline.import_data import DataFile, carry_base, carry_files
from luthier.pipeline.import_job import Job, shown
from luthier.pipeline.import_quantised import FourBit, carry_four_bit

NAME = "llamafactory"
_OWN = ("stage", "finetuning_type", "cutoff_len", "dataset", "template", "lora_target", "dataset_dir", "val_size", "lora_rank")
_FOUR_BIT = FourBit(("quantization_bit",), "quantization_type", "double_quantization", "quantization_method")
_LORA = trainer.Lora("lora_rank", "lora_alpha", "lora_dropout", "lora_target", four_bit="quantization_bit")
_TAGS = {
    "content_tag": ("value", "content"), "user_tag": ("human", "user"), "assistant_tag": ("gpt", "assistant"),
    "system_tag": ("system",), "observation_tag": ("observation", "tool"), "function_tag": ("function_call",),
}  # fmt: skip
_NO_EFFECT = (
    "dataset_dir",
    "media_dir",
    "cache_dir",
    "use_unsloth",
    "use_unsloth_gc",
    "enable_liger_kernel",
    "disable_gradient_checkpointing",
    "eval_on_each_dataset",
    "compute_accuracy",
    "hf_hub_token",
    "streaming",
    "ray_run_name",
    "include_num_input_tokens_seen",
    "use_fast_tokenizer",
    "upcast_layernorm",
)
_STAGES = {
    "dpo": "preference training (DPO)",
    "kto": "KTO",
    "ppo": "PPO",
    "rm": "a reward model",
    "pt": "continued pre-training on raw text",
}


def fits(data: dict[str, Any]) -> int:
    """How many of LLaMA-Factory's own keys the file has."""
    return sum(k in data for k in _OWN)


def carry(job: Job) -> None:
    """Everything that a project has a place for."""
    carry_base(job, "model_name_or_path")
    carry_files(job, _files(job), "dataset")
    _method(job)
    job.carry("learning_rate", "train.learning_rate", 5e-5, "LLaMA-Factory's default")
    trainer.carry_optimiser(job, "optim", "adamw_torch", ("weight_decay", 0.0))
    trainer.carry_schedule(job, "lr_scheduler_type", "linear")
    trainer.carry_length(job, "num_train_epochs", 3.0)
    trainer.carry_batch(job, "per_device_train_batch_size", 8)
    trainer.carry_validation(job, "val_size")
    trainer.carry_early_stopping(job, "early_stopping_steps")
    job.carry("cutoff_len", "prepare.max_length", 2048, "LLaMA-Factory's default")
    job.add("prepare.too_long", "cut_end", "as LLaMA-Factory, which cuts at cutoff_len")
    job.carry("seed", "train.seed", 42, "LLaMA-Factory's default")
    if isinstance(job.get("max_samples"), int):
        note = "of the training rows together; LLaMA-Factory takes the first ones of each data set"
        job.carry_as("max_samples", "split.max_rows", {"train": job.get("max_samples")}, note)
    _rest(job)


def _method(job: Job) -> None:
    stage, kind = job.get("stage", "sft"), job.get("finetuning_type", "lora")
    if stage == "sft":
        job.ignore(("stage",), "supervised fine-tuning is what a project does")
    else:
        job.stop("stage", _STAGES.get(str(stage), f"the stage {stage}"))
    if kind == "full":
        trainer.carry_full(job, "finetuning_type")
    elif kind != "lora":
        job.stop("finetuning_type", f"{kind}: the project trains LoRA instead")
    else:
        method = trainer.carry_lora(job, _LORA)
        job.carry_as("finetuning_type", "train.method.kind", method) if job.get("finetuning_type") else None
    carry_four_bit(job, _FOUR_BIT)
    for key in ("image_max_pixels", "video_max_pixels", "video_fps", "video_maxlen", "freeze_vision_tower", "freeze_multi_modal_projector"):
        job.leave(key, "of pictures and film, which a project has none of")
    for key in ("pref_beta", "pref_loss", "pref_ftx", "simpo_gamma", "kto_chosen_weight", "kto_rejected_weight", "reward_model"):
        job.leave(key, "belongs to preference training")


def _files(job: Job) -> list[DataFile]:
    files = []
    folder = Path(str(job.get("dataset_dir", "data")))
    info = _info(job, folder)
    for key, split in (("dataset", "any"), ("eval_dataset", "validation")):
        listed = job.get(key, [])
        for name in [n.strip() for n in listed.split(",")] if isinstance(listed, str) else listed:
            files.append(_file(job, str(name), info.get(name), (folder, split, key)))
    return files


def _info(job: Job, folder: Path) -> dict[str, Any]:
    """dataset_info.json beside the data, or nothing when it is not here."""
    from luthier.engine.text.files import read_object

    found = next((p for p in (job.folder / folder, folder) if (p / "dataset_info.json").is_file()), None)
    return read_object(found / "dataset_info.json") if found else {}


def _file(job: Job, name: str, entry: Any, place: tuple[Path, str, str]) -> DataFile:
    """A data set by its entry in dataset_info.json (None: there is none). place: (folder, split, key of the job)."""
    folder, split, key = place
    if entry is None:
        return DataFile(name, None, split, key)
    if isinstance(entry, dict) and any((entry.get("columns") or {}).get(c) for c in ("images", "videos", "audios")):
        job.stop(key, f"{name} has pictures, film or sound")
    if isinstance(entry, dict):
        _account(job, name, entry, key)
    if not isinstance(entry, dict):
        raise UserError("an entry of dataset_info.json must be an object", shown(entry), name)
    if "file_name" in entry:
        path = (folder / str(entry["file_name"])).as_posix()
    else:
        path = str(entry.get("hf_hub_url") or entry.get("ms_hub_url") or entry.get("script_url") or name)
    return DataFile(path, _mapping(entry), split, key)


def _account(job: Job, name: str, entry: dict[str, Any], key: str) -> None:
    """Lines for what an entry of dataset_info.json asks for beyond its file and columns."""
    for field in ("num_samples", "subset", "folder"):
        if entry.get(field):
            job.line(key, "not carried", "", f"{field}: {shown(entry[field])} of {name}: cut the file yourself")
    if entry.get("split", "train") != "train":
        job.line(key, "not carried", "", f"split: {shown(entry['split'])} of {name}: cut the file yourself")
    for tag, value in (entry.get("tags") or {}).items():
        if value not in _TAGS.get(tag, (value,)):
            raise UserError(f"{tag} must be {' or '.join(_TAGS[tag])}", shown(value), name, "rename it in the data file")


def _mapping(entry: dict[str, Any]) -> dict[str, Any]:
    """`formatting` and `columns` of dataset_info.json as a mapping."""
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    if entry.get("ranking"):
        return {"kind": "preference", "chosen": columns.get("chosen", "chosen"), "rejected": columns.get("rejected", "rejected")}
    if columns.get("kto_tag"):
        return {"kind": "kto", "label": columns["kto_tag"]}
    if entry.get("formatting", "alpaca") in ("sharegpt", "openai"):
        if tags.get("role_tag") == "role":
            return {"kind": "messages", "messages": columns.get("messages", "conversations")}
        return {"kind": "sharegpt", "conversations": columns.get("messages", "conversations")}
    mapping = {"kind": "alpaca", "instruction": columns.get("prompt", "instruction"), "output": columns.get("response", "output")}
    return mapping | {
        "input": columns.get("query", "input" if not columns else None),
        "system": columns.get("system"),
        "history": columns.get("history"),
    }


def _rest(job: Job) -> None:
    job.leave("template", "Luthier uses the model's own chat template")
    job.leave("train_on_prompt", "Luthier trains on answers only")
    if job.get("mask_history"):
        job.carry_as("mask_history", "prepare.train_on", "last")
    else:
        job.leave("mask_history", "")
    for key in ("pissa_init", "pissa_convert"):
        job.leave(key, "LoRA starts from PEFT's usual weights")
    job.leave("default_system", "put it into data.prompt.system")
    job.leave("tool_format", "Luthier uses the model's own chat template")
    for key in ("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon", "use_dft_loss", "use_asft_loss", "use_eaft_loss"):
        job.leave(key, "another optimiser or loss than the project has")
    job.leave("additional_target", "only LoRA matrices are trained")
    job.leave("adapter_name_or_path", "training starts from a fresh adapter")
    job.ignore(_NO_EFFECT)
    trainer.carry_rest(job)
