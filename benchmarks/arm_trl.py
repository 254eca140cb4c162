"""One arm: TRL's SFTTrainer, in its own virtual environment and a fresh process. Usage: arm_trl.py JOB.json OUT.json

One decision: the trainer is used as it comes; only the order of rows is fixed and nothing is cut off (`max_length`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer
from watch import Watch, result


class InOrder(SFTTrainer):
    """Rows in the order given."""

    def _get_train_sampler(self, *args: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def chosen(setting: dict[str, Any]) -> dict[str, Any]:
    """The trainer's arguments of a setting; what it does not name stays the trainer's default."""
    known = {"bf16": "bf16", "checkpointing": "gradient_checkpointing"}
    return {known[k]: v for k, v in setting.items() if k in known}


def main(job: dict[str, Any], out: Path) -> None:
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, local_files_only=True)
    model = PeftModel.from_pretrained(model, job["adapter"], is_trainable=True)
    config = SFTConfig(
        output_dir=str(out.parent / "trl-out"), use_cpu=True, per_device_train_batch_size=job["micro_rows"],
        gradient_accumulation_steps=job["rows_per_step"] // job["micro_rows"], num_train_epochs=1, learning_rate=job["learning_rate"],
        lr_scheduler_type="constant", weight_decay=0.0, completion_only_loss=True, logging_steps=1, save_strategy="no", max_length=None,
        report_to="none", disable_tqdm=True, **chosen(job["setting"]),
    )  # fmt: skip
    watch = Watch(out.with_suffix(".safetensors"))
    tokenizer = AutoTokenizer.from_pretrained(job["model"], local_files_only=True)
    trainer = InOrder(model=model, args=config, train_dataset=Dataset.from_list(job["rows"]), processing_class=tokenizer, callbacks=[watch])
    trainer.train()
    out.write_text(json.dumps(result(watch, trainer.state.log_history)))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
