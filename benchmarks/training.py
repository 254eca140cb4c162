"""Training side by side: a peer at its default, the peer at its best, Luthier. Usage: training.py W2 --peer trl --rows 8 --repeats 3

One decision: no ratio is printed unless Luthier and the peer in float32 agree on the same batches (first gradients
within 1e-5, every loss within 1e-4). The peer's best is the fastest of the settings that `peers.py` declares, found in
this run; a setting that does not fit the memory is reported as such.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from peers import BF16, FLOAT32, PEERS, Peer
from plots import bars
from safetensors.torch import load_file
from workloads import WORKLOADS, rows_of

from luthier.core.execution import Execution
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.models.resolve import resolve
from luthier.engine.select import load_engine

HERE = Path(__file__).resolve().parent
Run = dict[str, Any]


OURS = {"luthier": "float32", "luthier bf16": "bfloat16"}
"""Our arms and their precision; ratios are given for each, so that bf16 can be read against bf16."""


class Failed(Exception):
    """An arm that ended without a result, most often because it did not fit the memory."""


def run_arm(file: str, python: Path, job: Run, folder: Path, memory_gb: float) -> Run:
    """One fresh process over `job`; its address space is bounded, so that a setting that does not fit fails alone."""
    number = len(list(folder.glob("job-*.json")))
    path, out = folder / f"job-{number}.json", folder / f"out-{number}.json"
    path.write_text(json.dumps(job))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(job["threads"])}
    load, limit = os.getloadavg()[0], int(memory_gb * 2**30)

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    done = subprocess.run([str(python), str(HERE / file), str(path), str(out)], env=env, preexec_fn=bounded, capture_output=True, text=True)
    if done.returncode != 0 or not out.is_file():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise Failed(said[-1][:300] if said else f"exit code {done.returncode}")
    return {**json.loads(out.read_text()), "gradients": str(out.with_suffix(".safetensors")), "load": load}


def difference(theirs: Run, ours: Run) -> dict[str, float]:
    """Relative difference of the first gradients, difference of the first loss, and the largest difference of a step's loss."""
    a, b = load_file(theirs["gradients"]), load_file(ours["gradients"])
    if set(a) != set(b):
        raise SystemExit(f"void: the peer trains {len(a)} tensors, Luthier {len(b)}")
    gap = float(torch.cat([(a[n] - b[n]).flatten() for n in a]).norm() / torch.cat([g.flatten() for g in a.values()]).norm())
    losses = [abs(x - y) for x, y in zip(theirs["losses"], ours["losses"], strict=True)]
    return {"first_gradients": gap, "first_loss_difference": losses[0], "largest_loss_difference": max(losses)}


def check_equal(what: str, found: dict[str, float], limits: tuple[float, float]) -> None:
    """Raise SystemExit unless the differences are within the limits: every step's loss in float32, the first one in bf16.

    After one AdamW step, whose size hardly depends on the gradient's, bf16's rounding of small gradients is a different model.
    """
    gap, loss = found["first_gradients"], found["first_loss_difference" if limits == BF16 else "largest_loss_difference"]
    if gap > limits[0] or loss > limits[1]:
        raise SystemExit(f"void: {what} differs from Luthier: first gradients {gap:.1e}, losses {loss:.1e} (limits {limits})")


class Bench:
    """One workload against one peer."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.workload, self.peer = WORKLOADS[options.workload], PEERS[options.peer]
        model = Path(resolve("smollm2-135m-instruct").folder)
        load_engine(model, LoRASpec(16, 32.0), Execution(engine="fast"), 0).save_adapter(folder / "adapter")
        self.job: Run = {"model": str(model), "adapter": str(folder / "adapter"), "learning_rate": 2e-4, "threads": options.threads}
        self.job["rows"] = rows_of(self.workload, options.data, model, options.rows)

    def luthier(self, rows: list[Run], rows_per_step: int, precision: str = "float32") -> Run:
        job = {**self.job, "rows": rows, "rows_per_step": rows_per_step, "precision": precision}
        return run_arm("arm_luthier.py", Path(sys.executable), job, self.folder, self.options.memory)

    def theirs(self, peer: Peer, setting: Run, rows: list[Run], rows_per_step: int) -> Run:
        micro = min(setting.get("micro_rows", self.workload.micro_rows), rows_per_step)
        job = {**self.job, "rows": rows, "rows_per_step": rows_per_step, "micro_rows": micro, "setting": setting}
        return run_arm(peer.file, peer.python(), job, self.folder, self.options.memory)

    def search(self) -> tuple[list[Run], Run, dict[str, float]]:
        """Every declared setting on the first rows: what each took, the fastest setting, and the gate against float32."""
        size = self.workload.micro_rows
        rows = self.job["rows"][:size]
        ours, tried, gate = self.luthier(rows, size), [], None
        for setting in self.peer.tried:
            if setting.get("micro_rows", size) > size:
                tried.append({"setting": setting, "not tried": f"the search has {size} rows"})
                continue
            try:
                done = self.theirs(self.peer, setting, rows, size)
            except Failed as err:
                tried.append({"setting": setting, "failed": str(err)})
            else:
                found = difference(done, ours)
                check_equal(f"{self.peer.name} {setting}", found, self.peer.limits(setting))
                gate = found if setting == self.peer.exact else gate
                tried.append({"setting": setting, "seconds": done["seconds"][0], "peak_mb": done["peak_mb"], **found})
            print("search", tried[-1], flush=True)
        if gate is None:
            gate = self._gate(ours)
        check_equal(f"{self.peer.name} in float32", gate, FLOAT32)
        return tried, min((t for t in tried if "seconds" in t), key=lambda t: t["seconds"])["setting"], gate

    def _gate(self, ours: Run) -> dict[str, float]:
        """The float32 gate by the exact setting where that was not among the tried ones; one row, checkpointed, where it does not fit."""
        size = self.workload.micro_rows
        if self.peer.exact not in self.peer.tried:
            return difference(self.theirs(self.peer, self.peer.exact, self.job["rows"][:size], size), ours)
        rows, setting = self.job["rows"][:1], {"bf16": False, "checkpointing": True}
        return difference(self.theirs(self.peer, setting, rows, 1), self.luthier(rows, 1))


def summary(runs: list[Run], rows: list[Run], rows_per_step: int) -> Run:
    rates = [rows_per_step / s for run in runs for s in run["seconds"]]
    seconds = sum(sum(run["seconds"]) for run in runs) / len(runs)
    kept = {"rows_per_second": statistics.median(rates), "least": min(rates), "most": max(rates)}
    kept["supervised_tokens_per_second"] = sum(sum(r["completion_mask"]) for r in rows) / seconds
    kept["as_if_separate_tokens_per_second"] = sum(len(r["input_ids"]) for r in rows) / seconds
    kept["peak_mb"] = max(run["peak_mb"] for run in runs)
    kept["machine_load"] = max(run["load"] for run in runs)
    if "R" in runs[0]:
        kept["unique_tokens_per_second"] = sum(runs[0]["unique_tokens"]) / seconds
        kept["R"] = statistics.median([r for run in runs for r in run["R"]])
        kept["gflops_per_second"] = statistics.median([run["gflops_per_second"] for run in runs])
    return {**kept, "seconds": [run["seconds"] for run in runs], "losses": runs[0]["losses"], "torch": runs[0]["torch"]}


def ratio(ours: Run, theirs: Run) -> dict[str, float]:
    return {"speed": ours["rows_per_second"] / theirs["rows_per_second"], "memory": ours["peak_mb"] / theirs["peak_mb"]}


def measure(bench: Bench) -> Run:
    """Search, gate, then the arms in turn."""
    options, peer, rows, size = bench.options, bench.peer, bench.job["rows"], bench.workload.rows_per_step
    tried, best, gate = bench.search()
    arms = {**OURS, f"{peer.name} best": best, f"{peer.name} default": peer.default}
    if best == peer.default:
        del arms[f"{peer.name} default"]
    runs: dict[str, list[Run]] = {arm: [] for arm in arms}
    for _ in range(options.repeats):
        for arm, setting in arms.items():
            runs[arm].append(bench.luthier(rows, size, setting) if arm in OURS else bench.theirs(peer, setting, rows, size))
            print(arm, runs[arm][-1]["seconds"], runs[arm][-1]["losses"][-1:], f"{runs[arm][-1]['peak_mb']:.0f} MB", flush=True)
    equal = {arm: difference(runs[arm][0], runs["luthier"][0]) for arm in arms if arm != "luthier"}
    for arm, found in equal.items():
        check_equal(arm, found, BF16 if arm in OURS else peer.limits(arms[arm]))
    made = {arm: summary(found, rows, size) for arm, found in runs.items()}
    ratios = {ours: {arm: ratio(made[ours], made[arm]) for arm in equal if arm not in OURS} for ours in OURS}
    tokens = {k: runs["luthier"][0][k] for k in ("unique_tokens", "as_if_separate_tokens")}
    return {"arms": made, "ratios": ratios, "best_setting": best, "searched": tried, "gate": gate, "equality": equal, "tokens": tokens}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--peer", choices=sorted(PEERS), default="trl")
    parser.add_argument("--rows", type=int, default=0, help="0: those of one optimiser step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=float, default=20.0, help="GiB that an arm may take")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    options = parser.parse_args()
    options.rows = options.rows or WORKLOADS[options.workload].rows_per_step
    with tempfile.TemporaryDirectory() as name:
        made = measure(Bench(options, Path(name)))
    shown = {k: v for k, v in vars(options).items() if k != "data"}
    today = datetime.date.today().isoformat()
    stem = HERE / "results" / f"{today}-{options.workload}-{options.peer}"
    stem.parent.mkdir(exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps({"date": today, "settings": shown, **made}, indent=1) + "\n")
    bars(made["arms"], f"{options.workload}: rows per second, median and range", stem.with_suffix(".svg"))
    for ours, against in made["ratios"].items():
        for arm, found in against.items():
            said = f"{found['speed']:.2f}x {arm}, memory {found['memory']:.2f} of it; R {made['arms'][ours]['R']:.2f}"
            print(f"{options.workload}: {ours} is {said}")


if __name__ == "__main__":
    main()
