"""What dirty training rows cost, and what Luthier's own cleaning gives back. Usage: data_matters.py --rows 600 --steps 150 [--quick]

Banking77 with planted noise: an encoder trained on the rows as they are, and on the same rows after one cleaning, the same for every
kind of noise; both are asked the same clean sealed rows. Test rows planted among the training rows are a kind of their own.
One decision: the sealed rows are never cleaned and every training has the same number of steps, so that rows are all that differs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from data_noise import COPIES, DAMAGED, FLIPPED, LEAKED, NOISE, REPEATED, Rows, banking77, leak, sample

from luthier.core.config import parse_config
from luthier.core.errors import AnswerIsNo
from luthier.parts.scorers import Score, load
from luthier.parts.scorers.summary import judge_scores
from luthier.parts.sources.mapping import mapping_from_text
from luthier.pipeline.workspace import Workspace
from luthier.stages.data.clean_file import FileJob, clean_file
from luthier.stages.data.cleaning import CleanPlan
from luthier.stages.evaluate.predictions import read_predictions
from luthier.stats.intervals import wilson

HERE = Path(__file__).resolve().parent
Found = dict[str, Any]

CLEANING = {"checks": [{"kind": "near_duplicates", "fate": "drop"}, {"kind": "label_errors", "fate": "drop"}]}
"""The cleaning of every arm, fixed before anything was measured: the standard repairs, then these."""
MAPPING = "classification:text=text,label=label"
UNCHECKED, CHECKED = "leak, check off", "leak, check on"
LEAKS = {UNCHECKED: {"leakage": "warn", "near": None}, CHECKED: {"leakage": "drop"}}
"""The leakage check of the two arms with planted test rows; `warn` keeps every copy where it is."""
QUICK = {"rows": 80, "test_rows": 20, "intents": 3, "steps": 2}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LUTHIER_SHARED", HERE.parent.parent / "shared")) / "data")
    parser.add_argument("--rows", type=int, default=600, help="training rows before noise is planted")
    parser.add_argument("--test-rows", type=int, default=800, help="sealed rows")
    parser.add_argument("--intents", type=int, default=20)
    parser.add_argument("--steps", type=int, default=150, help="optimiser steps of 16 rows, the same for every arm")
    parser.add_argument("--base", default="minilm-l6")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help=f"only see that everything runs: {QUICK}")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="arms that are there of the same day and settings are kept")
    given = parser.parse_args()
    vars(given).update(QUICK if given.quick else {})
    settings = {k: getattr(given, k) for k in ("rows", "test_rows", "intents", "steps", "base", "seed", "threads")}
    settings |= {"flipped": FLIPPED, "repeated": REPEATED, "copies": COPIES, "damaged": DAMAGED, "leaked": LEAKED, "cleaning": CLEANING}
    out = given.out / f"{datetime.date.today().isoformat()}-data-matters{'-quick' if given.quick else ''}.json"
    before = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    arms: dict[str, Found] = before.get("arms", {}) if before.get("settings") == settings else {}
    for name in [f"{noise}, {state}" for noise in NOISE for state in ("as it is", "cleaned")] + list(LEAKS):
        if name not in arms:
            arms[name] = measured(name, given)
            out.write_text(json.dumps({"settings": settings, "arms": arms}, indent=1) + "\n", encoding="utf-8")
            print(f"{name}: {arms[name]['accuracy']}", file=sys.stderr)
    found = {"settings": settings, "comparisons": comparisons(arms), "leakage": leakage(arms), "arms": arms}
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    plot(found, out.with_suffix(".svg"))
    print(table(found))
    print(f"written to {out}", file=sys.stderr)
    return 0


def measured(name: str, given: argparse.Namespace) -> Found:
    """One arm: its rows, cleaned where it says so, one training, and which sealed rows it answered rightly (1) or not (0)."""
    test = sample(banking77(given.data, "test"), given.test_rows, given.intents, given.seed)
    train = sample(banking77(given.data, "train"), given.rows + given.rows // 10, given.intents, given.seed)
    held, train = train[given.rows :], train[: given.rows]
    rng = random.Random(given.seed)
    noise, _, state = name.partition(", ")
    rows = leak(train, test, rng) if name in LEAKS else NOISE[noise](train, rng)
    busy, began = time.process_time(), time.monotonic()
    with tempfile.TemporaryDirectory() as aside:
        folder, found = Path(aside), {}
        for part, those in (("train", rows), ("validation", held), ("test", test)):
            write(folder / f"{part}.jsonl", those)
        file = "train.jsonl"
        if state == "cleaned":
            file = "cleaned.jsonl"
            found["cleaning"] = cleaned(folder, file)
        found["planted"] = {"before": counted(rows), "after": counted(read(folder / file))}
        split = LEAKS.get(name, {"leakage": "drop"})
        if name == CHECKED:
            found["blocked"] = blocked(project(folder, file, {"leakage": "block"}, given))
        workspace = project(folder, file, split, given)
        answered = answers(workspace)
        trained = workspace.store.build(workspace.graph.split, workspace.project.execution).result.counts["train"]
    leaked = {row["text"] for row in rows if row["planted"] == "leak"}
    right = {row["key"]: int(row["scores"]["accuracy"]) for row in answered}
    score = wilson(sum(right.values()), len(right))
    return {
        **found,
        "trained_rows": trained,
        "accuracy": {"value": score.value, "low": score.low, "high": score.high, "rows": len(right)},
        "cpu_seconds": round(time.process_time() - busy, 1),
        "wall_seconds": round(time.monotonic() - began, 1),
        "right": dict(sorted(right.items())),
        "leaked": sorted(row["key"] for row in answered if row["prompt"][-1]["content"] in leaked),
    }


def cleaned(folder: Path, file: str) -> Found:
    """`luthier data clean train.jsonl --out FILE` with the cleaning of every arm; what it did."""
    plan = parse_config(CleanPlan, CLEANING)
    done = clean_file(folder / "train.jsonl", mapping_from_text(MAPPING), plan, FileJob(folder / file))
    return {"rows": done.rows, "fates": dict(done.fates), "repairs": dict(done.repairs), "checks": dict(done.checks)}


def project(folder: Path, file: str, split: Found, given: argparse.Namespace) -> Workspace:
    """The project of an arm. Method, rate and batch come from a pilot on rows without noise; validation rows choose nothing."""
    body = {
        "name": "data-matters",
        "objective": {"task": "classify", "goal": "Route a banking message.", "metric": "accuracy"},
        "base": given.base,
        "data": {
            "files": [{"path": p, "split": s} for p, s in ((file, "train"), ("validation.jsonl", "validation"), ("test.jsonl", "test"))],
            "mapping": {"kind": "classification", "text": "text", "label": "label"},
            "labels": sorted(
                {row["label"] for row in read(folder / "test.jsonl")} | {row["label"] for row in read(folder / "train.jsonl")}
            ),
        },
        "split": split,
        "prepare": {"too_long": "cut_end"},
        "train": {
            "method": {"kind": "lora", "rank": 16},
            "learning_rate": 2e-3,
            "schedule": {"kind": "linear", "warmup_ratio": 0.1},
            "steps": given.steps,
            "batch_size": 16,
            "evaluations": 1,
            "early_stopping": None,
            "train_sample": 0,
            "seed": given.seed,
        },
        "watch": {"side_effects": False},
        "execution": {"threads": given.threads, "save_every": 10_000},
    }
    (folder / "luthier.yaml").write_text(yaml.safe_dump(body, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return Workspace.open(folder / "luthier.yaml")


def answers(workspace: Workspace) -> list[Found]:
    """The tuned model's answers to the sealed rows."""
    built = workspace.store.build(workspace.graph.tuned, workspace.project.execution)
    return read_predictions(built.path)


def blocked(workspace: Workspace) -> str:
    """The first line of what the default check says to the planted rows. A check that lets them pass is an error."""
    try:
        workspace.store.build(workspace.graph.split, workspace.project.execution)
    except AnswerIsNo as no:
        return str(no).splitlines()[0]
    raise AssertionError("the leakage check let planted test rows pass")


def read(path: Path) -> Rows:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write(path: Path, rows: Rows) -> None:
    """A JSONL file of the rows."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def counted(rows: Rows) -> dict[str, int]:
    """Rows by what was planted in them."""
    marks = [kind for row in rows for kind in row["planted"].split() or ["untouched"]]
    return {"rows": len(rows), **{kind: marks.count(kind) for kind in sorted(set(marks))}}


def comparisons(arms: dict[str, Found]) -> list[Found]:
    """For each kind of noise: what it cost against the rows without noise, and what the cleaning gave back; paired verdicts."""
    out = []
    for noise in NOISE:
        cost = verdict(arms[f"{noise}, as it is"], arms["none, as it is"])
        gain = verdict(arms[f"{noise}, cleaned"], arms[f"{noise}, as it is"])
        out.append({"noise": noise, **({"cost": cost} if noise != "none" else {}), "gain": gain})
    return out


def leakage(arms: dict[str, Found]) -> Found:
    """The score with the check off against the score with it on: over all sealed rows, over the planted ones, and over the others."""
    planted = set(arms[UNCHECKED]["leaked"])
    others = set(arms[UNCHECKED]["right"]) - planted
    parts = {"all": planted | others, "planted": planted, "others": others}
    return {part: verdict(arms[UNCHECKED], arms[CHECKED], keys) for part, keys in parts.items()}


def verdict(one: Found, two: Found, keys: set[str] | None = None) -> Found:
    """The product's own paired verdict of the first arm against the second."""
    wanted = sorted(keys if keys is not None else one["right"])
    scores = [[Score(float(arm["right"][key])) for key in wanted] for arm in (one, two)]
    found = judge_scores(load("accuracy"), scores[0], scores[1])
    names = ("decision", "baseline", "tuned", "effect", "p", "test", "num_rows", "minimum_detectable_effect")
    return {"interval": list(found.interval), **{name: getattr(found, name) for name in names}}


def plot(found: Found, path: Path) -> None:
    """Accuracy of every arm with its interval; beside it what leaked rows pretend."""
    import altair as alt

    names = {"as it is": "as it is", "cleaned": "cleaned", "check off": "leakage check off", "check on": "leakage check on"}
    rows = [
        {"noise": name.partition(", ")[0], "rows": names[name.partition(", ")[2]]}
        | {k: 100 * arm["accuracy"][k] for k in ("value", "low", "high")}
        for name, arm in found["arms"].items()
    ]
    base = alt.Chart(alt.Data(values=rows), title="What dirty training rows cost, and what cleaning gives back", width=460)
    y = alt.Y("noise:N", title="planted", sort=[*NOISE, "leak"])
    offset, colour = alt.YOffset("rows:N", sort=list(names.values())), alt.Color("rows:N", title="training rows", sort=list(names.values()))
    axis = alt.X("value:Q", title="accuracy on clean sealed rows, % (95 % interval)", scale=alt.Scale(zero=False))
    dots = base.mark_point(filled=True, size=70).encode(x=axis, y=y, yOffset=offset, color=colour)
    spans = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", y=y, yOffset=offset, color=colour)
    (spans + dots).properties(height=alt.Step(16)).save(str(path))


def table(found: Found) -> str:
    """The figures as Markdown."""
    lines = ["| planted | as it is | cleaned | what it cost | what cleaning gave back | verdict |", "|---|---|---|---|---|---|"]
    for row in found["comparisons"]:
        one, two = (found["arms"][f"{row['noise']}, {state}"]["accuracy"] for state in ("as it is", "cleaned"))
        cost = effect(row["cost"]) if "cost" in row else ""
        lines.append(f"| {row['noise']} | {share(one)} | {share(two)} | {cost} | {effect(row['gain'])} | {row['gain']['decision']} |")
    lines += ["", "| sealed rows | leakage check on | off | inflation |", "|---|---|---|---|"]
    for part, row in found["leakage"].items():
        lines.append(f"| {part} ({row['num_rows']:,}) | {100 * row['baseline']:.1f} % | {100 * row['tuned']:.1f} % | {effect(row)} |")
    return "\n".join(lines)


def share(figure: Found) -> str:
    """A share with its interval, in per cent."""
    return f"{100 * figure['value']:.1f} % ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def effect(row: Found) -> str:
    """A difference with its interval, in points."""
    return f"{100 * row['effect']:+.1f} ({100 * row['interval'][0]:+.1f} to {100 * row['interval'][1]:+.1f})"


if __name__ == "__main__":
    raise SystemExit(main())
