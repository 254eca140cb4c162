"""One arm: TRL's SFTTrainer, in its own virtual environment and a fresh process. Usage: arm_trl.py JOB.json OUT.json

One decision: the trainer is used as it comes; only the order of rows is fixed, and times, losses and the first
gradients are read by a callback.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import save_file
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class InOrder(SFTTrainer):
    """Rows in the order given."""

    def _get_train_sampler(self, *args: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class Watch(TrainerCallback):
    """Seconds per step; the clipped gradient of the first step."""

    def __init__(self, grads: Path) -> None:
        self.grads, self.seconds, self.start = grads, [], 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.start = time.perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            found = {n.replace(".default.", "."): p.grad.float() for n, p in kwargs["model"].named_parameters() if p.grad is not None}
            save_file({n: g.contiguous() for n, g in found.items()}, self.grads)

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def main(job: dict[str, Any], out: Path) -> None:
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, local_files_only=True)
    model = PeftModel.from_pretrained(model, job["adapter"], is_trainable=True)
    best = {"gradient_checkpointing": False, "bf16": False} if job["best"] else {}
    config = SFTConfig(
        output_dir=str(out.parent / "trl-out"), use_cpu=True, per_device_train_batch_size=job["micro_rows"],
        gradient_accumulation_steps=job["rows_per_step"] // job["micro_rows"], num_train_epochs=1, learning_rate=job["learning_rate"],
        lr_scheduler_type="constant", weight_decay=0.0, completion_only_loss=True, logging_steps=1, save_strategy="no",
        report_to="none", disable_tqdm=True, **best,
    )  # fmt: skip
    watch = Watch(out.with_suffix(".safetensors"))
    tokenizer = AutoTokenizer.from_pretrained(job["model"], local_files_only=True)
    trainer = InOrder(model=model, args=config, train_dataset=Dataset.from_list(job["rows"]), processing_class=tokenizer, callbacks=[watch])
    trainer.train()
    losses = [e["loss"] for e in trainer.state.log_history if "loss" in e]
    out.write_text(json.dumps({"seconds": watch.seconds, "losses": losses, "peak_mb": peak_mb(), "torch": torch.__version__}))


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
