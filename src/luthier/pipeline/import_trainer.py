"""Settings that foreign tools share: LoRA, optimiser, schedule, length and batch, under the names that each tool gives them.

One decision: what Luthier can do is read from its own configs (kinds of method, optimiser, schedule), so a setting is
carried as soon as the project file has a place for it, and is named as not carried until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import pydantic

from luthier.core.errors import UserError
from luthier.pipeline.import_job import Job, shown
from luthier.pipeline.project import Project
from luthier.stages.train.recipe import Recipe

_EIGHT_BIT = "the same update with its states in 32 bits, not in 8 bits (`adamw_8bit` does that where bitsandbytes is installed)"
_OPTIMISERS = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw", "adamw": "adamw", "adam": "adam", "sgd": "sgd",
    "adamw_8bit": "adamw", "adamw_bnb_8bit": "adamw", "paged_adamw_8bit": "adamw", "paged_adamw_32bit": "adamw",
    "paged_adamw": "adamw", "adafactor": "adafactor", "lion": "lion", "lion_32bit": "lion", "lion_8bit": "lion",
    "paged_lion_8bit": "lion", "paged_lion_32bit": "lion", "rmsprop": "rmsprop",
}  # fmt: skip
_SCHEDULES = {
    "linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant",
    "inverse_sqrt": "inverse_sqrt", "warmup_stable_decay": "wsd", "cosine_with_min_lr": "cosine",
}  # fmt: skip
_ALL_LINEAR = ("all-linear", "all")


@dataclass(frozen=True, slots=True)
class Names:
    """What a tool calls its LoRA settings."""

    rank: str
    alpha: str
    dropout: str
    targets: str
    rslora: str = "use_rslora"
    dora: str = "use_dora"


def kinds_of(field: str) -> dict[str, type[pydantic.BaseModel]]:
    """The kinds that `train.<field>` of a project may have, with their configs."""
    return {str(c.model_fields["kind"].default): c for c in _models(Recipe.model_fields[field].annotation) if "kind" in c.model_fields}


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [m for arg in get_args(annotation) for m in _models(arg)]


def schedule_kinds() -> tuple[str, ...]:
    """The kinds that `train.schedule` may have."""
    return tuple(k for c in _models(Recipe.model_fields["schedule"].annotation) for k in get_args(c.model_fields["kind"].annotation))


def carry_lora(job: Job, names: Names, rank: int, alpha: float | None) -> None:
    """LoRA with the tool's own defaults for rank and alpha (None: twice the rank)."""
    job.add("train.method.kind", "lora", "the method of the job")
    job.carry(names.rank, "train.method.rank", rank, "the other tool's default")
    wanted = alpha if alpha is not None else 2.0 * float(job.get(names.rank, rank))
    job.carry(names.alpha, "train.method.alpha", wanted, "the other tool's default")
    _flag(job, names.rslora, "rslora")
    _flag(job, names.dora, "dora")
    if "dropout" in kinds_of("method")["lora"].model_fields:
        job.carry(names.dropout, "train.method.dropout")
    else:
        job.leave(names.dropout, "Luthier's LoRA has no dropout")
    _carry_targets(job, names.targets)


def _flag(job: Job, key: str, field: str) -> None:
    if field in kinds_of("method")["lora"].model_fields:
        job.carry(key, f"train.method.{field}")
    else:
        job.leave(key, f"Luthier's LoRA has no {field}")


def _carry_targets(job: Job, key: str) -> None:
    value = job.get(key)
    if value is None:
        return
    names = [v.strip() for v in value.split(",")] if isinstance(value, str) else value
    if isinstance(names, list) and any(n in _ALL_LINEAR for n in names):
        job.carry_as(key, "train.method.targets", "all-linear")
    elif isinstance(names, list) and names and all(isinstance(n, str) for n in names):
        job.carry_as(key, "train.method.targets", names)
    else:
        raise UserError("LoRA targets must be names of layers", shown(value), key)


def carry_full(job: Job, key: str) -> None:
    """Full fine-tuning, where Luthier has it."""
    if "full" in kinds_of("method"):
        job.carry_as(key, "train.method", {"kind": "full"})
        return
    job.stop(key, "full fine-tuning: the project trains a LoRA adapter instead, which is another method")


def carry_quantised(job: Job, key: str) -> None:
    """A 4-bit or 8-bit base (QLoRA)."""
    job.leave(key, "the base is trained on in float32, not in 4 or 8 bits: the result is at least as exact and takes more memory")


def carry_optimiser(job: Job, key: str, default: str, decay: tuple[str, float]) -> None:
    """Optimiser, weight decay (key, the tool's default), betas, epsilon and clipping, under the names of TrainingArguments."""
    name = str(job.get(key, default)).removeprefix("OptimizerNames.").lower()
    wanted, known = _OPTIMISERS.get(name), kinds_of("optimizer")
    kind = wanted if wanted in known else "adamw"
    fields = known[kind].model_fields
    if wanted == kind:
        note = _EIGHT_BIT if "8bit" in name or "paged" in name else ""
        job.carry_as(key, "train.optimizer.kind", kind, note) if job.get(key) else job.add(
            "train.optimizer.kind", kind, "the other tool's default"
        )
    else:
        job.leave(key, f"Luthier has {', '.join(known)}; AdamW is used instead")
        job.put("train.optimizer.kind", "adamw")
    if "weight_decay" in fields:
        job.carry(decay[0], "train.optimizer.weight_decay", decay[1], "the other tool's default")
    else:
        job.leave(decay[0], f"{kind} has no weight decay here")
    betas = [job.get("adam_beta1"), job.get("adam_beta2")]
    if any(b is not None for b in betas) and "betas" in fields:
        pair = [0.9 if betas[0] is None else betas[0], 0.999 if betas[1] is None else betas[1]]
        for beta in ("adam_beta1", "adam_beta2"):
            if job.get(beta) is not None:
                job.carry_as(beta, "train.optimizer.betas", pair)
    job.carry("adam_epsilon", "train.optimizer.eps")
    clip = job.get("max_grad_norm")
    if clip == 0:
        job.carry_as("max_grad_norm", "train.optimizer.clip_norm", None, "0 is no clipping")
    else:
        job.carry("max_grad_norm", "train.optimizer.clip_norm", 1.0, "the other tool's default")


def carry_schedule(job: Job, key: str, default: str) -> None:
    """Schedule and warm-up (`warmup_steps` wins over `warmup_ratio`, as in TrainingArguments)."""
    name = str(job.get(key, default))
    kind = _SCHEDULES.get(name)
    if kind in schedule_kinds():
        if job.get(key) is None:
            job.add("train.schedule.kind", kind, "the other tool's default")
        else:
            job.carry_as(key, "train.schedule.kind", kind)
    else:
        job.leave(key, f"Luthier has {', '.join(schedule_kinds())}; cosine is used instead")
        job.put("train.schedule.kind", "cosine")
    steps = job.get("warmup_steps")
    if isinstance(steps, float) and 0 < steps < 1:
        job.carry_as("warmup_steps", "train.schedule.warmup_ratio", steps, "a share of all steps")
    elif steps:
        job.carry("warmup_steps", "train.schedule.warmup_steps")
        job.leave("warmup_ratio", "warmup_steps wins over it")
    else:
        job.seen("warmup_steps")
        job.carry("warmup_ratio", "train.schedule.warmup_ratio")
    job.carry("cosine_min_lr_ratio", "train.schedule.min_ratio")


def carry_length(job: Job, epochs: str, default_epochs: float, steps: str = "max_steps") -> None:
    """Epochs, or optimiser steps where the job has them (they win, as in TrainingArguments)."""
    limit = job.get(steps)
    if isinstance(limit, int) and limit > 0:
        job.carry(steps, "train.steps")
        if job.get(epochs) is not None:
            job.leave(epochs, f"{steps} wins over it")
        return
    job.seen(steps)
    job.carry(epochs, "train.epochs", default_epochs, "the other tool's default")


def carry_batch(
    job: Job, rows: str, default: int, accumulation: str = "gradient_accumulation_steps", default_accumulation: int = 1
) -> None:
    """Rows per optimiser step: per-device rows times accumulation, for one device; gradients are exact for any micro-batch."""
    per_device, times = job.whole(rows, default), job.whole(accumulation, default_accumulation)
    note = f"{per_device} rows x {times} accumulated, on one device; several devices multiply it"
    if job.get(rows) is None and job.get(accumulation) is None:
        job.add("train.batch_size", per_device * times, f"the other tool's default ({note})")
        return
    for key in (rows, accumulation):
        if job.get(key) is not None:
            job.carry_as(key, "train.batch_size", per_device * times, note)


def carry_validation(job: Job, key: str) -> None:
    """The share of rows for validation; a project always needs some, and sealed test rows for its verdict."""
    value = job.get(key)
    if value:
        job.carry(key, "split.validation")
    else:
        job.seen(key)
        job.add("split.validation", Project.model_fields["split"].default.validation, "a project needs validation rows")
    job.add("split.test", Project.model_fields["split"].default.test, "sealed rows for the verdict, which the other tool does not have")


def carry_early_stopping(job: Job, key: str) -> None:
    """Patience, or none: the other tools train to the end unless told otherwise."""
    if job.get(key):
        job.carry_as(key, "train.early_stopping", {"patience": job.get(key)})
    else:
        job.seen(key)
        job.add("train.early_stopping", None, "the other tool trains to the end")


LOGGING = (
    "output_dir", "logging_steps", "logging_strategy", "logging_dir", "logging_first_step", "log_level", "report_to", "run_name",
    "plot_loss",
    "save_steps", "save_strategy", "save_total_limit", "save_safetensors", "save_only_model", "overwrite_output_dir", "overwrite_cache",
    "eval_steps", "eval_strategy", "evaluation_strategy", "eval_batch_size", "per_device_eval_batch_size", "preprocessing_num_workers",
    "dataloader_num_workers", "dataset_num_proc", "ddp_timeout", "push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo",
    "gradient_checkpointing", "gradient_checkpointing_kwargs", "attn_implementation", "flash_attn", "flash_attention", "do_train",
    "do_eval",
    "tf32", "resume_from_checkpoint", "wandb_project", "wandb_entity", "wandb_watch", "wandb_name", "wandb_run_id", "wandb_log_model",
    "group_by_length", "pad_to_sequence_len", "packing", "sample_packing", "eval_sample_packing", "packing_strategy", "neat_packing",
)  # fmt: skip
PRECISION = ("bf16", "fp16", "torch_dtype", "dtype", "pure_bf16")


def carry_rest(job: Job) -> None:
    """What every tool has and no project needs: logging, folders, memory savers; and arithmetic in 16 bits, which is not done."""
    job.ignore(LOGGING, "does not change the trained model (Luthier packs and shares exactly)")
    for key in PRECISION:
        if job.get(key) in ("float32", "auto", False):
            job.ignore((key,), "training is in float32")
        else:
            job.leave(key, "training is in float32")
    for key in ("deepspeed", "fsdp", "fsdp_config", "use_liger_kernel"):
        job.leave(key, "this project trains in one process")
    job.leave("neftune_noise_alpha", "embedding noise is not in the project file")
    job.leave("trust_remote_code", "code from a model's repository is never run")
