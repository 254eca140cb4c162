"""What is read off a `transformers` Trainer: seconds of each step, the first step's clipped gradients, losses, peak memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback


class Watch(TrainerCallback):
    """Seconds per step; the clipped gradient of the first step goes to the file `grads`."""

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


def peak_mb() -> float:
    """Largest resident memory of this process so far, MiB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def result(watch: Watch, log_history: list[dict[str, Any]]) -> dict[str, Any]:
    """The arm's result document."""
    losses = [entry["loss"] for entry in log_history if "loss" in entry]
    return {"seconds": watch.seconds, "losses": losses, "peak_mb": peak_mb(), "torch": torch.__version__}
