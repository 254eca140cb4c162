"""Settings that foreign tools share: LoRA, optimiser, schedule, length and batch, under the names that each tool gives them.

One decision: what Luthier can do is read from its own configs (kinds of method, optimiser, schedule), so a setting is
carried as soon as the project file has a place for it, and is named as not carried until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import pydantic

from luthier.core.errors import UserError
from luthier.pipeline.import_job import Job, Line, shown
from luthier.pipeline.import_quantised import FLOAT32
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
_THEIRS = "the other tool's default"


@dataclass(frozen=True, slots=True)
class Lora:
    """What a tool calls its LoRA settings, and what it takes where the file is silent.

    default_alpha None: twice the rank; default_targets None: every linear layer, as in Luthier.
    """

    rank: str
    alpha: str
    dropout: str
    targets: str
    rslora: str = "use_rslora"
    dora: str = "use_dora"
    four_bit: str = "load_in_4bit"
    default_four_bit: bool = False
    default_rank: int = 8
    default_alpha: float | None = None
    default_dropout: float = 0.0
    default_targets: tuple[str, ...] | None = None


def kinds_of(field: str) -> dict[str, type[pydantic.BaseModel]]:
    """The kinds that `train.<field>` of a project may have, with their configs."""
    return {str(c.model_fields["kind"].default): c for c in _models(Recipe.model_fields[field].annotation) if "kind" in c.model_fields}


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [m for arg in get_args(annotation) for m in _models(arg)]


def place(path: str) -> bool:
    """True when a project has this dotted setting."""
    models: list[type[pydantic.BaseModel]] = [Project]
    for step in path.split("."):
        fields = [m.model_fields[step] for m in models if step in m.model_fields]
        if not fields:
            return False
        models = [m for f in fields for m in _models(f.annotation)]
    return True


def schedule_kinds() -> tuple[str, ...]:
    """The kinds that `train.schedule` may have."""
    return tuple(k for c in _models(Recipe.model_fields["schedule"].annotation) for k in get_args(c.model_fields["kind"].annotation))


def carry_lora(job: Job, names: Lora) -> str:
    """LoRA, DoRA or QLoRA with the tool's own defaults written out; the kind of method that it became."""
    kind = _low_rank_kind(job, names)
    fields = kinds_of("method")[kind].model_fields
    job.add("train.method.kind", kind, "the method of the job")
    job.carry(names.rank, "train.method.rank", names.default_rank, _THEIRS)
    rank = float(job.whole(names.rank, names.default_rank))
    alpha = 2.0 * rank if names.default_alpha is None else names.default_alpha
    job.carry(names.alpha, "train.method.alpha", alpha, _THEIRS)
    job.carry(names.rslora, "train.method.rslora")
    if "dropout" in fields:
        job.carry(names.dropout, "train.method.dropout", names.default_dropout, _THEIRS)
    elif job.get(names.dropout) is not None or not names.default_dropout:
        job.leave(names.dropout, f"{kind} has no dropout here")
    else:
        job.lines.append(Line(names.dropout, "", "not carried", "", f"{_THEIRS} is {names.default_dropout}: {kind} has no dropout here"))
    _carry_targets(job, names)
    return kind


def _low_rank_kind(job: Job, names: Lora) -> str:
    known = kinds_of("method")
    if job.get(names.dora) and "dora" in known:
        job.carry_as(names.dora, "train.method.kind", "dora", FLOAT32 if job.get(names.four_bit) else "")
        return "dora"
    job.leave(names.dora, "Luthier has no DoRA")
    four = job.get(names.four_bit, names.default_four_bit)
    if four in (True, 4) and "qlora" in known:
        if job.get(names.four_bit) is not None:
            job.carry_as(names.four_bit, "train.method.kind", "qlora", "NF4")
        return "qlora"
    return "lora"


def _carry_targets(job: Job, names: Lora) -> None:
    key, value = names.targets, job.get(names.targets)
    if value is None or value == "":
        if names.default_targets is not None:
            note = f"{_THEIRS}, PEFT's choice for Llama, Mistral, Qwen and Gemma; other families need their own names"
            job.add("train.method.targets", list(names.default_targets), note)
        return
    layers = [v.strip() for v in value.split(",")] if isinstance(value, str) else value
    if isinstance(layers, list) and any(n in _ALL_LINEAR for n in layers):
        job.carry_as(key, "train.method.targets", "all-linear")
    elif isinstance(layers, list) and layers and all(isinstance(n, str) for n in layers):
        job.carry_as(key, "train.method.targets", layers)
    else:
        raise UserError("LoRA targets must be names of layers", shown(value), key)


def carry_full(job: Job, key: str) -> None:
    """Full fine-tuning, where Luthier has it."""
    if "full" in kinds_of("method"):
        job.carry_as(key, "train.method", {"kind": "full"}) if job.get(key) else job.add("train.method", {"kind": "full"}, _THEIRS)
        if job.get(key) is False:
            job.line(key, "no effect", "", "without an adapter all weights are trained")
        return
    job.stop(key, "full fine-tuning: the project trains a LoRA adapter instead, which is another method")


def carry_optimiser(job: Job, key: str, default: str, decay: tuple[str, float]) -> None:
    """Optimiser, weight decay (key, the tool's default), betas, epsilon and clipping, under the names of TrainingArguments."""
    name = str(job.get(key, default)).removeprefix("OptimizerNames.").lower()
    wanted, known = _OPTIMISERS.get(name), kinds_of("optimizer")
    kind = wanted if wanted in known else "adamw"
    fields = known[kind].model_fields
    if wanted == kind and job.get(key):
        job.carry_as(key, "train.optimizer.kind", kind, _EIGHT_BIT if "8bit" in name else "")
    elif wanted == kind:
        job.add("train.optimizer.kind", kind, f"{_THEIRS} ({name})")
    else:
        job.leave(key, f"Luthier has {', '.join(known)}; AdamW is used instead")
        job.put("train.optimizer.kind", "adamw")
    if "weight_decay" in fields:
        job.carry(decay[0], "train.optimizer.weight_decay", decay[1], _THEIRS)
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
        job.carry("max_grad_norm", "train.optimizer.clip_norm", 1.0, _THEIRS)


def carry_schedule(job: Job, key: str, default: str, warmup: tuple[str, float] | None = None) -> None:
    """Schedule and warm-up. warmup: the tool's own default, as (setting of a schedule, value)."""
    name = str(job.get(key, default))
    kind = _SCHEDULES.get(name)
    if kind in schedule_kinds():
        if job.get(key) is None:
            job.add("train.schedule.kind", kind, _THEIRS)
        else:
            job.carry_as(key, "train.schedule.kind", kind)
    else:
        job.leave(key, f"Luthier has {', '.join(schedule_kinds())}; cosine is used instead")
        job.put("train.schedule.kind", "cosine")
    _carry_warmup(job, warmup)
    job.carry("cosine_min_lr_ratio", "train.schedule.min_ratio")
    extra = job.get("lr_scheduler_kwargs")
    for name in extra if isinstance(extra, dict) else ():
        sub = f"lr_scheduler_kwargs.{name}"
        if name in ("min_lr_rate", "min_lr_ratio"):
            job.carry(sub, "train.schedule.min_ratio")
        else:
            job.leave(sub, "no counterpart in a schedule here")


def _carry_warmup(job: Job, default: tuple[str, float] | None) -> None:
    """`warmup_steps` wins over `warmup_ratio`; a `warmup_steps` below 1 is a share of all steps (TrainingArguments of transformers 5)."""
    steps, ratio = job.get("warmup_steps"), job.get("warmup_ratio")
    if isinstance(steps, float) and 0 < steps < 1:
        job.carry_as("warmup_steps", "train.schedule.warmup_ratio", steps, "a share of all steps")
    elif steps is not None:
        job.carry("warmup_steps", "train.schedule.warmup_steps")
    elif ratio is not None:
        job.carry("warmup_ratio", "train.schedule.warmup_ratio")
        return
    elif default is not None:
        job.add(f"train.schedule.{default[0]}", default[1], _THEIRS)
    job.leave("warmup_ratio", "warmup_steps wins over it")


def carry_length(job: Job, epochs: str, default_epochs: float, steps: str = "max_steps") -> None:
    """Epochs, or optimiser steps where the job has them (they win, as in TrainingArguments)."""
    limit = job.get(steps)
    if isinstance(limit, int) and limit > 0:
        job.carry(steps, "train.steps")
        if job.get(epochs) is not None:
            job.leave(epochs, f"{steps} wins over it")
        return
    job.ignore((steps,), "no limit of steps")
    job.carry(epochs, "train.epochs", default_epochs, _THEIRS)


def carry_batch(
    job: Job, rows: str, default: int, accumulation: str = "gradient_accumulation_steps", default_accumulation: int = 1
) -> None:
    """Rows per optimiser step: per-device rows times accumulation, for one device; gradients are exact for any micro-batch."""
    per_device, times = job.whole(rows, default), job.whole(accumulation, default_accumulation)
    note = f"{per_device} rows x {times} accumulated, on one device; several devices multiply it"
    if job.get(rows) is None and job.get(accumulation) is None:
        job.add("train.batch_size", per_device * times, f"{_THEIRS} ({note})")
        return
    for key in (rows, accumulation):
        if job.get(key) is not None:
            job.carry_as(key, "train.batch_size", per_device * times, note)


def carry_validation(job: Job, key: str | None) -> None:
    """The rows for validation (`key` None: the tool has no such setting); a project needs some, and sealed test rows for its verdict."""
    key = key or ""
    value = job.get(key)
    if isinstance(value, float) and value >= 1:
        job.carry_as(key, "split.validation", int(value), "a number of rows")
    elif value:
        job.carry(key, "split.validation")
    else:
        job.leave(key, "")
        own = any(f.get("split") == "validation" for f in job.project["data"]["files"])
        share = Project.model_fields["split"].default.validation
        job.add("split.validation", share, "only of rows without a split of their own" if own else "a project needs validation rows")
    job.add("split.test", Project.model_fields["split"].default.test, "sealed rows for the verdict, which the other tool does not have")


def carry_early_stopping(job: Job, key: str) -> None:
    """Patience, or none: the other tools train to the end unless told otherwise."""
    if job.get(key):
        job.carry_as(key, "train.early_stopping", {"patience": job.get(key)})
    else:
        job.leave(key, "")
        job.add("train.early_stopping", None, "the other tool trains to the end")


LOGGING = (
    "output_dir", "logging_steps", "logging_strategy", "logging_dir", "logging_first_step", "log_level", "report_to", "run_name",
    "plot_loss", "save_steps", "save_strategy", "save_total_limit", "save_safetensors", "save_only_model", "overwrite_output_dir",
    "overwrite_cache", "eval_steps", "eval_strategy", "evaluation_strategy", "eval_batch_size", "per_device_eval_batch_size",
    "eval_on_start", "eval_delay", "preprocessing_num_workers", "dataloader_num_workers", "dataloader_pin_memory",
    "dataset_num_proc", "ddp_timeout", "push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo", "hub_token",
    "gradient_checkpointing", "gradient_checkpointing_kwargs", "activation_offloading", "attn_implementation", "flash_attn",
    "flash_attention", "do_train", "do_eval", "do_predict", "tf32", "resume_from_checkpoint", "torch_compile", "disable_tqdm",
    "wandb_project", "wandb_entity", "wandb_watch", "wandb_name", "wandb_run_id", "wandb_log_model", "use_wandb", "wandb_mode",
    "load_best_model_at_end", "metric_for_best_model", "greater_is_better", "use_liger_kernel", "remove_unused_columns",
)  # fmt: skip
PACKING = ("pad_to_sequence_len", "packing", "sample_packing", "eval_sample_packing", "eval_packing", "packing_strategy", "neat_packing",
           "padding_free", "pad_to_multiple_of")  # fmt: skip
PROCESSES = ("deepspeed", "fsdp", "fsdp_config", "fsdp_version", "tensor_parallel_size", "context_parallel_size")
PRECISION = ("bf16", "fp16", "torch_dtype", "dtype", "pure_bf16")


def carry_rest(job: Job) -> None:
    """What every tool has and no project needs: logging, folders, memory savers; and arithmetic in 16 bits, which is not done."""
    job.ignore(LOGGING, "does not change the trained model")
    job.ignore(PACKING, "Luthier packs rows so that each sees only itself; the result does not depend on it")
    for key in PRECISION:
        if job.get(key) == "float32":
            job.ignore((key,), "training is in float32")
        else:
            job.leave(key, "training is in float32, which is more exact; `train.precision: bfloat16` multiplies in 16 bits")
    for key in PROCESSES:
        job.leave(key, "how many processes train is not in a project file")
    for key, to in (("neftune_noise_alpha", "neftune_alpha"), ("label_smoothing_factor", "label_smoothing")):
        setting = f"train.regularisation.{to}"
        job.carry(key, setting) if place(setting) else job.leave(key, "no such regulariser in the project file")
    job.leave("trust_remote_code", "code from a model's repository is never run")
    job.leave("loraplus_lr_ratio", "one learning rate for A and B")
    job.leave("data_seed", "one seed (train.seed)")
    for key in ("group_by_length", "train_sampling_strategy"):
        job.ignore((key,), "the order of rows is Luthier's own, drawn by train.seed")
