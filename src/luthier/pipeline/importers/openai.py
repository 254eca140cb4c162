"""A fine-tuning job of OpenAI's API as JSON: `model`, `training_file`, `method` or the older `hyperparameters`.

One decision: the model of such a job is not open, so the base is Luthier's default and that is said; a `training_file` that
is an id of their storage must be downloaded, one that is a local file is used.
"""

from __future__ import annotations

import re
from typing import Any

from luthier.core.errors import UserError
from luthier.pipeline import import_trainer as trainer
from luthier.pipeline.import_data import DataFile, carry_base, carry_files
from luthier.pipeline.import_job import Job

NAME = "openai"
_OWN = ("training_file", "validation_file", "hyperparameters", "method", "suffix", "object", "fine_tuned_model")
_CLOSED = re.compile(r"(ft:)?(gpt|o\d|davinci|babbage|curie|ada|chatgpt)\b")
_BASE = "smollm2-135m-instruct"
_REPLY = (
    "object", "id", "created_at", "finished_at", "fine_tuned_model", "organization_id", "result_files", "status", "trained_tokens", "error",
    "user_provided_suffix", "estimated_finish", "integrations", "metadata", "checkpoints", "usage_metrics", "shared_with_openai", "eval_id",
)  # fmt: skip


def fits(data: dict[str, Any]) -> int:
    """How many keys of the API's job object the file has."""
    return 2 * ("training_file" in data) + sum(k in data for k in _OWN)


def carry(job: Job) -> None:
    """Everything that a project has a place for."""
    if _CLOSED.match(str(job.get("model", "gpt"))):
        job.leave("model", f"a closed model: {_BASE} is the base instead, choose your own")
        job.put("base", _BASE)
    else:
        carry_base(job, "model")
    carry_files(job, _files(job), "training_file")
    kind = job.get("method.type", "supervised")
    if kind != "supervised":
        job.stop("method.type", f"{kind} fine-tuning")
        job.line(f"method.{kind}", "not carried", "", f"belongs to {kind} fine-tuning")
    else:
        job.ignore(("method.type",), "supervised fine-tuning is what a project does")
    for section in ("hyperparameters", "method.supervised.hyperparameters"):
        _hyperparameters(job, section)
    if "epochs" not in job.project.get("train", {}):
        job.add("train.epochs", 3, "the number of epochs is chosen by the service; 3 is its usual choice")
    trainer.carry_validation(job, None)
    job.add("train.method", {"kind": "lora", "rank": 16}, "how the service trains is not published")
    job.carry("seed", "train.seed")
    job.leave("suffix", "the project's name says it")
    job.ignore(_REPLY, "says what the service did with the job")


def _files(job: Job) -> list[DataFile]:
    if not job.get("training_file"):
        raise UserError("the job must name its training_file", "none", "training_file")
    chat = {"kind": "messages"}
    files = [DataFile(str(job.get("training_file")), chat, "any", "training_file")]
    if job.get("validation_file"):
        files.append(DataFile(str(job.get("validation_file")), chat, "validation", "validation_file"))
    return files


def _hyperparameters(job: Job, section: str) -> None:
    for name, to in (("n_epochs", "train.epochs"), ("batch_size", "train.batch_size")):
        key = f"{section}.{name}"
        if job.get(key) == "auto":
            job.leave(key, "chosen by the service: Luthier's default is used")
        else:
            job.carry(key, to)
    job.leave(f"{section}.learning_rate_multiplier", "multiplies a rate that is not published: Luthier's default is used")
    for name in ("beta", "n_checkpoints"):
        job.leave(f"{section}.{name}", "no counterpart")
