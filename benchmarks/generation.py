"""W8 side by side: greedy generation by Luthier and by transformers. Usage: generation.py --prompts 64 --repeats 3

One decision: no ratio is printed unless at least 99.5 % of the generated tokens are in completions that agree: equal tokens,
or a first difference where the reference's own logits of the two tokens are less than 1e-3 apart (a tie in float32).
The peer's best is the fastest of `generate` at batches of 16, 32 and 64 in the order of lengths, found in this run; its default
is batches of 8 in the order given. transformers is a dependency of Luthier, so every arm runs in this environment.
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
from plots import bars

from luthier.engine.models.resolve import resolve
from luthier.engine.text.files import read_stop_ids

HERE = Path(__file__).resolve().parent
SEARCHED = (16, 32, 64)
TIE, LEAST_SHARE = 1e-3, 0.995
Run = dict[str, Any]
ARMS: dict[str, dict[str, Any]] = {
    "luthier": {"how": "luthier"},
    "generate default": {"how": "padded", "batch": 8, "by_length": False},
    "generate_batch": {"how": "continuous"},
}


def prompts_of(data: Path, num: int, model: Path) -> list[list[int]]:
    """Instructions with the chat template's generation prompt, as token ids."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    with (data / "instruction" / "alpaca_en_demo.jsonl").open(encoding="utf-8") as f:
        rows = [json.loads(next(f)) for _ in range(num)]
    asked = ["\n\n".join(t for t in (r["instruction"], r["input"]) if t) for r in rows]
    messages = [[{"role": "user", "content": text}] for text in asked]
    return [list(tokenizer.apply_chat_template(m, add_generation_prompt=True, return_dict=True)["input_ids"]) for m in messages]


def run_arm(arm: dict[str, Any], job: Run, folder: Path) -> Run | str:
    """One fresh process; the last line that it said when it failed."""
    path, out = folder / "job.json", folder / "out.json"
    path.write_text(json.dumps({**job, **arm}))
    out.unlink(missing_ok=True)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(job["threads"])}
    load = os.getloadavg()[0]
    command = [sys.executable, str(HERE / "arm_generate.py"), str(path), str(out)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=3600)
    if done.returncode != 0 or not out.is_file():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return said[-1][:300] if said else f"exit code {done.returncode}"
    return {**json.loads(out.read_text()), "load": load}


class Judge:
    """The reference's logits, for completions that differ."""

    def __init__(self, model: Path, prompts: list[list[int]], stop_ids: list[int]) -> None:
        self._model, self._prompts, self._stop_ids, self._loaded = model, prompts, stop_ids, None

    def agreement(self, ours: list[list[int]], theirs: list[list[int]]) -> dict[str, Any]:
        """Share of tokens in completions that agree, and how many are equal, tied and different."""
        counts = {"equal": 0, "tied": 0, "different": 0}
        agreeing = total = 0
        for prompt, a, b in zip(self._prompts, ours, theirs, strict=True):
            fate = "equal" if a == b else "tied" if self._gap(prompt, a, b) < TIE else "different"
            counts[fate] += 1
            total += len(a)
            agreeing += len(a) if fate != "different" else 0
        return {"share": agreeing / max(total, 1), **counts}

    @torch.no_grad()
    def _gap(self, prompt: list[int], a: list[int], b: list[int]) -> float:
        """Distance of the reference's logits of the first two tokens that differ (the end counts as the stop token)."""
        at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        if self._loaded is None:
            from arm_generate import load_peer

            self._loaded = load_peer({"threads": torch.get_num_threads(), "model": str(self._model)}, "eager")
        logits = self._loaded(torch.tensor([prompt + a[:at]])).logits[0, -1]
        ends = max(float(logits[i]) for i in self._stop_ids)
        values = [float(logits[t[at]]) if at < len(t) else ends for t in (a, b)]
        return abs(values[0] - values[1])


def best_of_peer(job: Run, folder: Path) -> tuple[str, dict[str, Any], dict[str, float | str]]:
    """Name and settings of the fastest batch size, and what each one took (seconds, or why it failed)."""
    took: dict[str, float | str] = {}
    for batch in SEARCHED:
        done = run_arm({"how": "padded", "batch": batch, "by_length": True}, job, folder)
        took[str(batch)] = done if isinstance(done, str) else done["seconds"]
        print("search", batch, took[str(batch)], flush=True)
    ran = {int(k): v for k, v in took.items() if isinstance(v, float)}
    if not ran:
        raise SystemExit(f"void: the peer failed at every batch size: {took}")
    best = min(ran, key=lambda k: ran[k])
    return f"generate best (batch {best}, by length)", {"how": "padded", "batch": best, "by_length": True}, took


def summary(runs: list[Run]) -> dict[str, Any]:
    num = sum(len(t) for t in runs[0]["tokens"])
    rates = [num / run["seconds"] for run in runs]
    out = {"tokens_per_second": statistics.median(rates), "least": min(rates), "most": max(rates), "generated_tokens": num}
    out["peak_mb"] = max(run["peak_mb"] for run in runs)
    return {**out, "machine_load": max(run["load"] for run in runs), "seconds": [run["seconds"] for run in runs]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    options = parser.parse_args()
    model = Path(resolve("smollm2-135m-instruct").folder)
    stops = sorted(read_stop_ids(model))
    prompts = prompts_of(options.data, options.prompts, model)
    job = {"model": str(model), "prompts": prompts, "stop_ids": stops, "pad": stops[0], "threads": options.threads}
    job["max_new_tokens"] = options.max_new_tokens
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        best, settings, searched = best_of_peer(job, Path(name))
        arms = {**ARMS, best: settings}
        runs: dict[str, list[Run]] = {arm: [] for arm in arms}
        for _ in range(options.repeats):
            for arm in [a for a in arms if a not in failed]:
                done = run_arm(arms[arm], job, Path(name))
                if isinstance(done, str):
                    failed[arm] = done
                    print(f"{arm} failed: {done}", flush=True)
                    continue
                runs[arm].append(done)
                print(f"{arm}: {done['seconds']:.1f} s, {done['peak_mb']:.0f} MB", flush=True)
    report(
        {arm: r for arm, r in runs.items() if arm not in failed},
        Judge(model, prompts, stops),
        options,
        {"searched": searched, "failed": failed},
    )


def report(runs: dict[str, list[Run]], judge: Judge, options: argparse.Namespace, notes: dict[str, Any]) -> None:
    """Check, print the ratios, and write benchmarks/results/<date>-W8-<prompts>.json and .svg. SystemExit where an arm disagrees."""
    if "luthier" not in runs:
        raise SystemExit(f"void: Luthier failed: {notes['failed']}")
    equal = {arm: judge.agreement(runs["luthier"][0]["tokens"], r[0]["tokens"]) for arm, r in runs.items() if arm != "luthier"}
    for arm, found in equal.items():
        if found["share"] < LEAST_SHARE:
            raise SystemExit(f"void: {arm} agrees on {found['share']:.4f} of the tokens, {LEAST_SHARE} are wanted: {found}")
    arms = {arm: summary(r) for arm, r in runs.items()}
    ratios = {arm: statistics.median(arms[arm]["seconds"]) / statistics.median(arms["luthier"]["seconds"]) for arm in equal}
    settings = {k: v for k, v in vars(options).items() if k != "data"}
    made = {"settings": settings, **notes, "arms": arms, "ratios": ratios, "equality": equal, "torch": torch.__version__}
    stem = HERE / "results" / f"{datetime.date.today().isoformat()}-W8-{options.prompts}"
    stem.parent.mkdir(exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(made, indent=1) + "\n")
    bars(arms, f"W8: greedy generation, {options.prompts} prompts, median and range", stem.with_suffix(".svg"), "tokens_per_second")
    for arm, ratio in ratios.items():
        memory = arms["luthier"]["peak_mb"] / arms[arm]["peak_mb"]
        print(f"W8: {ratio:.2f}x {arm}, memory {memory:.2f} of it, agreement {equal[arm]}")


if __name__ == "__main__":
    main()
