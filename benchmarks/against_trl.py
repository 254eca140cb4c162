"""W1 and W2 side by side: TRL at its default, TRL at its best, Luthier. Usage: against_trl.py W1 --rows 32 --repeats 3

One decision: no ratio is printed unless the arms agree: first gradients and every step's loss against the
peer in float32. The default arm computes in bf16, so its losses are shown and held to bf16's rounding.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from workloads import WORKLOADS, tokenise

from luthier.core.execution import Execution
from luthier.engine.lora import LoRASpec
from luthier.engine.models.resolve import resolve
from luthier.engine.select import load_engine

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venvs" / "trl"
LIMITS = {"trl-best": (1e-5, 1e-4), "trl-default": (0.2, 5e-2)}
"""Largest (relative difference of first gradients, difference of a step's loss)."""


def install_peer() -> Path:
    """The peer in its own environment, with the same torch."""
    python = VENV / "bin" / "python"
    if not (VENV / "installed").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        wanted = ["torch==2.13.0", "trl==1.16.*", "peft", "transformers", "safetensors"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-c", str(HERE.parent / "constraints.txt"), *wanted], check=True)
        (VENV / "installed").write_text("ok")
    return python


def run_arm(arm: str, job: dict[str, Any], folder: Path, repeat: int) -> dict[str, Any]:
    peer = arm.startswith("trl")
    path, out = folder / f"{arm}.json", folder / f"{arm}-{repeat}-out.json"
    path.write_text(json.dumps({**job, "best": arm == "trl-best"}))
    python = install_peer() if peer else Path(sys.executable)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(job["threads"])}
    subprocess.run([str(python), str(HERE / ("arm_trl.py" if peer else "arm_luthier.py")), str(path), str(out)], check=True, env=env)
    return {**json.loads(out.read_text()), "gradients": out.with_suffix(".safetensors"), "load": os.getloadavg()[0]}


def check_equal(arm: str, theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, float]:
    """Raise SystemExit unless first gradients and every loss agree within the arm's limits."""
    a, b = load_file(theirs["gradients"]), load_file(ours["gradients"])
    if set(a) != set(b):
        raise SystemExit(f"void: {arm} trains {len(a)} tensors, Luthier {len(b)}")
    gap = float(torch.cat([(a[n] - b[n]).flatten() for n in a]).norm() / torch.cat([g.flatten() for g in a.values()]).norm())
    loss = max(abs(x - y) for x, y in zip(theirs["losses"], ours["losses"], strict=True))
    if gap > LIMITS[arm][0] or loss > LIMITS[arm][1]:
        raise SystemExit(f"void: {arm} differs from Luthier: first gradients {gap:.1e}, losses {loss:.1e} (limits {LIMITS[arm]})")
    return {"first_gradients": gap, "largest_loss_difference": loss}


def summary(runs: list[dict[str, Any]], rows_per_step: int) -> dict[str, Any]:
    rates = [rows_per_step / s for run in runs for s in run["seconds"]]
    keep = {"rows_per_second": statistics.median(rates), "least": min(rates), "most": max(rates)}
    keep["peak_mb"] = max(run["peak_mb"] for run in runs)
    keep["machine_load"] = max(run["load"] for run in runs)
    return {**keep, "seconds": [run["seconds"] for run in runs], "losses": runs[0]["losses"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--micro-rows", type=int, default=8, help="rows the peer computes at once")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    options = parser.parse_args()
    make, per_step = WORKLOADS[options.workload]
    model = Path(resolve("smollm2-135m-instruct").folder)
    arms = ("luthier", "trl-best", "trl-default")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load_engine(model, LoRASpec(16, 32.0), Execution(engine="fast"), 0).save_adapter(folder / "adapter")
        job = {"model": str(model), "adapter": str(folder / "adapter"), "rows_per_step": per_step, "learning_rate": 2e-4}
        job["micro_rows"], job["threads"] = min(options.micro_rows, per_step), options.threads
        job["rows"] = tokenise(make(options.data, options.rows), model, per_step)
        runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
        for repeat in range(options.repeats):
            for arm in arms:
                runs[arm].append(run_arm(arm, job, folder, repeat))
                print(arm, runs[arm][-1]["seconds"], runs[arm][-1]["losses"], f"{runs[arm][-1]['peak_mb']:.0f} MB", flush=True)
        equal = {arm: check_equal(arm, runs[arm][0], runs["luthier"][0]) for arm in arms[1:]}
    report({arm: summary(r, per_step) for arm, r in runs.items()}, equal, options, runs["luthier"][0])


def report(arms: dict[str, Any], equal: dict[str, Any], options: argparse.Namespace, ours: dict[str, Any]) -> None:
    """Print the ratios; write benchmarks/results/<date>-<workload>.json and .svg."""
    ratios = {arm: arms["luthier"]["rows_per_second"] / arms[arm]["rows_per_second"] for arm in equal}
    tokens = {k: ours[k] for k in ("unique_tokens", "as_if_separate_tokens")}
    settings = {k: v for k, v in vars(options).items() if k != "data"}
    made = {"settings": settings, "arms": arms, "ratios": ratios, "equality": equal, "tokens": tokens, "torch": torch.__version__}
    stem = HERE / "results" / f"{datetime.date.today().isoformat()}-{options.workload}"
    stem.parent.mkdir(exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(made, indent=1) + "\n")
    plot(arms, options.workload, stem.with_suffix(".svg"))
    for arm, ratio in ratios.items():
        print(f"{options.workload}: {ratio:.1f}x {arm}, memory {arms['luthier']['peak_mb'] / arms[arm]['peak_mb']:.2f} of it", equal[arm])


def plot(arms: dict[str, Any], workload: str, path: Path) -> None:
    import altair

    rows = [{"arm": a, "rows/s": v["rows_per_second"], "low": v["least"], "high": v["most"]} for a, v in arms.items()]
    base = altair.Chart(altair.Data(values=rows), title=f"{workload}: rows per second, median and range", width=360)
    bars = base.mark_bar().encode(y=altair.Y("arm:N", sort="-x", title=None), x=altair.X("rows/s:Q"))
    span = base.mark_rule(strokeWidth=2).encode(y=altair.Y("arm:N", sort="-x"), x="low:Q", x2="high:Q")
    (bars + span).save(str(path))


if __name__ == "__main__":
    main()
