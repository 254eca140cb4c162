"""The peers of the training benchmark: their own environments, their arms and the settings that are tried for their best.

One decision: a peer's best is found by running every declared setting, not by belief; the search is part of the result.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """A peer: what pip installs (`alone`: without its dependencies), the file that runs it, and its settings by name.

    unused: packages that the peer imports and these rows never use, replaced by an empty module (their wheels want CUDA).
    by_log_softmax: its loss comes from torch's log-softmax over the whole vocabulary.
    exact: the setting whose arithmetic is float32, for the equality gate. tried: what the search for the best runs.
    """

    name: str
    wanted: tuple[str, ...]
    alone: tuple[str, ...]
    unused: tuple[str, ...]
    file: str
    default_bf16: bool
    default: dict[str, Any]
    exact: dict[str, Any]
    tried: tuple[dict[str, Any], ...]
    by_log_softmax: bool = False

    def python(self) -> Path:
        """The interpreter of the peer's own environment, which is made when it is missing."""
        folder = HERE / ".venvs" / self.name
        python = folder / "bin" / "python"
        if not (folder / "installed").is_file():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(python), "-m", "pip", "install", "-q"]
            subprocess.run([*pip, TORCH], check=True)
            subprocess.run([*pip, TORCH, *self.wanted], check=True)
            for module in self.unused:
                site = next((folder / "lib").glob("python*/site-packages"))
                (site / f"{module}.py").write_text("# stands in for a package that these rows never use\n")
            if self.alone:
                subprocess.run([*pip, "--no-deps", *self.alone], check=True)
            (folder / "installed").write_text("ok")
        return python

    def limits(self, setting: dict[str, Any]) -> tuple[float, float]:
        """Largest (relative difference of first gradients, difference of a step's loss) for which a ratio is printed."""
        if setting.get("bf16", self.default_bf16):
            return BF16
        return FLOAT32 if setting == self.exact or not self.by_log_softmax else LOG_SOFTMAX


FLOAT32, LOG_SOFTMAX, BF16 = (1e-5, 1e-4), (1e-3, 1e-4), (0.2, 5e-2)
"""bf16 keeps 8 bits: its gradients differ by per cents. torch's float32 log-softmax on a CPU is 9e-6 a token off over 49,152
tokens, its gradients 4e-5 to 2e-4 (docs/log.md). The strict gate, which the exact setting must pass, puts both into proportion."""


def settings(bf16: bool, checkpointing: bool, micro_rows: int | None = None) -> dict[str, Any]:
    """One setting of a peer; micro_rows None: the run's own."""
    found = {"bf16": bf16, "checkpointing": checkpointing, "micro_rows": micro_rows}
    return {k: v for k, v in found.items() if v is not None}


EXACT = settings(bf16=False, checkpointing=False)

TRL = Peer(
    name="trl",
    wanted=("trl==1.16.*", "peft", "transformers", "safetensors"),
    alone=(),
    unused=(),
    file="arm_trl.py",
    default_bf16=True,
    default={},
    exact=EXACT,
    tried=(
        {},
        EXACT,
        settings(bf16=False, checkpointing=True),
        settings(bf16=True, checkpointing=False),
        settings(bf16=False, checkpointing=False, micro_rows=2),
        settings(bf16=True, checkpointing=False, micro_rows=2),
    ),
)
LLAMA_FACTORY = Peer(
    name="llamafactory",
    wanted=(
        "transformers==5.6.0", "peft==0.18.1", "trl==0.24.0", "accelerate==1.11.0", "datasets==4.0.0", "omegaconf", "einops", "fire",
        "sentencepiece", "tiktoken", "tyro<0.9.0", "modelscope", "hf-transfer", "pyyaml", "scipy", "pandas", "matplotlib", "protobuf",
        "sse-starlette", "fastapi", "uvicorn", "safetensors", "torchdata<=0.11.0,>=0.10.0", "av<=16.0.0,>=10.0.0",
    ),
    alone=("llamafactory==0.9.5",),
    unused=("torchaudio",),
    file="arm_llamafactory.py",
    default_bf16=False,
    by_log_softmax=True,
    default={},
    exact={**EXACT, "cross_entropy": "float64"},
    tried=(
        {},
        EXACT,
        settings(bf16=True, checkpointing=False),
        settings(bf16=False, checkpointing=False, micro_rows=2),
        settings(bf16=True, checkpointing=False, micro_rows=2),
    ),
)  # fmt: skip
PEERS = {"trl": TRL, "llamafactory": LLAMA_FACTORY}
