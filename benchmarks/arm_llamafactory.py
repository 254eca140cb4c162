"""One arm: LLaMA-Factory's SFT, in its own virtual environment and a fresh process. Usage: arm_llamafactory.py JOB.json OUT.json

One decision: it is given the tokenised rows (`tokenized_path`) and the adapter to start from; all else is its own trainer and loop.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from watch import Watch, result


def tokenised(rows: list[dict[str, Any]], folder: Path) -> str:
    """The rows as LLaMA-Factory keeps them after its own preprocessing."""
    made = [
        {
            "input_ids": r["input_ids"],
            "attention_mask": [1] * len(r["input_ids"]),
            "labels": [t if m else -100 for t, m in zip(r["input_ids"], r["completion_mask"], strict=True)],
            "images": None,
            "videos": None,
            "audios": None,
        }
        for r in rows
    ]
    DatasetDict({"train": Dataset.from_list(made)}).save_to_disk(str(folder))
    return str(folder)


def cross_entropy_in_float64() -> None:
    """For the gate alone: torch's float32 log-softmax is 9e-6 a token off over a vocabulary of 49,152 (docs/log.md)."""
    given = torch.nn.functional.cross_entropy

    def exact(logits: torch.Tensor, target: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return given(logits.double(), target, *args, **kwargs)

    torch.nn.functional.cross_entropy = exact


def main(job: dict[str, Any], out: Path) -> None:
    torch.set_num_threads(job["threads"])
    if job["setting"].get("cross_entropy") == "float64":
        cross_entropy_in_float64()
    from llamafactory.train.tuner import run_exp

    setting = job["setting"]
    arguments: dict[str, Any] = {
        "model_name_or_path": job["model"], "adapter_name_or_path": job["adapter"], "stage": "sft", "do_train": True, "use_cpu": True,
        "dataset": "rows", "finetuning_type": "lora", "template": "default",
        "tokenized_path": tokenised(job["rows"], out.parent / f"{out.stem}-rows"),
        "cutoff_len": max(len(r["input_ids"]) for r in job["rows"]), "output_dir": str(out.parent / f"{out.stem}-trained"),
        "per_device_train_batch_size": job["micro_rows"], "gradient_accumulation_steps": job["rows_per_step"] // job["micro_rows"],
        "num_train_epochs": 1.0, "learning_rate": job["learning_rate"], "lr_scheduler_type": "constant", "weight_decay": 0.0,
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "disable_shuffling": True,
        "max_grad_norm": 1.0, "seed": 0, "overwrite_output_dir": True,
    }  # fmt: skip
    if "bf16" in setting:
        arguments["bf16"] = setting["bf16"]
    if "checkpointing" in setting:
        arguments["disable_gradient_checkpointing"] = not setting["checkpointing"]
    watch = Watch(out.with_suffix(".safetensors"))
    run_exp(arguments, callbacks=[watch])
    state = json.loads((Path(arguments["output_dir"]) / "trainer_state.json").read_text())
    out.write_text(json.dumps(result(watch, state["log_history"])))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
