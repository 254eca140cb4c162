"""Full evaluations of the untuned base on eight real sets. Usage: evaluation.py [set ...] --rows N --data FOLDER, or --write-docs

One decision: each set is a Luthier project in a temporary folder and a process of its own, built by the pipeline that `luthier eval --base`
and `luthier run` use. A set that finished leaves its own dated JSON, so a run that is cut off loses one set. Costs are processor
seconds of both cores, which do not count what other work on the machine takes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from evaluation_page import write_page
from evaluation_sets import SETS, EvaluationSet, settings

from luthier.core.errors import LuthierError
from luthier.core.events import Event, Note
from luthier.core.stage import Built
from luthier.pipeline.run import RunOptions, run
from luthier.pipeline.workspace import Workspace
from luthier.stages.evaluate.predictions import read_predictions

HERE = Path(__file__).resolve().parent
Found = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(SETS)}; all when none is named")
    parser.add_argument("--rows", type=int, help="test rows of each set; its own number when not given")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LUTHIER_SHARED", HERE.parent.parent / "shared")) / "data")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-tuning", action="store_true", help="leave the short tunes out")
    parser.add_argument("--keep", type=Path, help="a folder in which the projects stay; a temporary one when not given")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--write-docs", action="store_true", help="only write docs/evaluation.md and its plots from the newest JSON")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := sorted(set(given.sets) - set(SETS)):
        parser.error(f"unknown sets: {', '.join(unknown)}; known: {', '.join(SETS)}")
    if given.write_docs:
        write_page(given.out, HERE.parent / "docs")
        return 0
    if given.one:
        return one(SETS[given.sets[0]], given)
    failed = [name for name in given.sets or SETS if apart(name, given) != 0]
    print(f"without a result: {', '.join(failed)}" if failed else "every set has its result", file=sys.stderr)
    return 1 if failed else 0


def apart(name: str, given: argparse.Namespace) -> int:
    """One set in a fresh process; its exit status."""
    command = [sys.executable, __file__, name, "--one", "--data", str(given.data.resolve()), "--threads", str(given.threads)]
    command += ["--out", str(given.out.resolve()), *([] if given.rows is None else ["--rows", str(given.rows)])]
    command += ["--no-tuning"] * given.no_tuning + ([] if given.keep is None else ["--keep", str(given.keep.resolve())])
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(given.threads)}
    return subprocess.run(command, env=env, check=False).returncode


def one(chosen: EvaluationSet, given: argparse.Namespace) -> int:
    """The set's project, made and evaluated; its JSON, written before the short tune and again after it."""
    today = datetime.date.today().isoformat()
    out = given.out / f"{today}-eval-{chosen.name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside) if given.keep is None else given.keep / chosen.name
        folder.mkdir(parents=True, exist_ok=True)
        body = settings(chosen, given.data, given.rows) | {"execution": {"threads": given.threads}}
        (folder / "luthier.yaml").write_text(yaml.safe_dump(body, sort_keys=False, allow_unicode=True), encoding="utf-8")
        found = {"date": today, "set": chosen.name, "title": chosen.title, "threads": given.threads, "base": body["base"]}
        try:
            workspace = Workspace.open(folder / "luthier.yaml")
            kept = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
            found |= evaluated(workspace, kept.get("cost"))
            out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            if chosen.tuned and not given.no_tuning:
                found["tuned"] = tuned(workspace)
        except LuthierError as err:
            print(f"{chosen.title}: {err}", file=sys.stderr)
            return err.exit_code
    out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{chosen.title}: written to {out}", file=sys.stderr)
    return 0


def observe(event: Event) -> None:
    """Notes go to the terminal."""
    if isinstance(event, Note):
        print(f"  {event.level}: {event.text}", file=sys.stderr)


def evaluated(workspace: Workspace, cost: Found | None) -> Found:
    """The base as it is asked best. cost: of an evaluation that is found again in the store, None where there was none."""
    store, graph, execution = workspace.store, workspace.graph, workspace.project.execution
    split = store.build(graph.split, execution, observe)
    prompting = store.build(graph.prompting, execution, observe)
    busy, wall = time.process_time(), time.monotonic()
    baseline = store.build(graph.baseline, execution, observe)
    rows = baseline.result.num_rows
    if not baseline.cached or cost is None:
        cost = {"cpu_seconds_per_row": (time.process_time() - busy) / rows, "wall_seconds_per_row": (time.monotonic() - wall) / rows}
    return {
        "task": workspace.project.objective.task,
        "rows": split.result.counts,
        "left_out": split.result.ledger.get("dropped", 0),
        "metric": baseline.result.metric,
        "asked": {"chosen": prompting.result.chosen, "validation": prompting.result.validation},
        "cost": cost,
        "base_scores": figures(workspace, baseline),
        **details(baseline),
    }


def tuned(workspace: Workspace) -> Found:
    """The short tune and its verdict against the base, by a whole run."""
    busy = time.process_time()
    report = run(workspace, RunOptions(observer=observe, stop_flag=lambda: False)).report
    store, graph, execution = workspace.store, workspace.graph, workspace.project.execution
    answers, training = store.build(graph.tuned, execution), store.build(graph.train, execution)
    return {
        "scores": figures(workspace, answers),
        "steps": training.result.steps,
        "rows": store.build(graph.split, execution).result.counts["train"],
        "verdict": report.verdict.model_dump(mode="json"),
        "cpu_seconds": time.process_time() - busy,
        **details(answers),
    }


def figures(workspace: Workspace, built: Built[Any]) -> Found:
    """Each metric with its interval, and how it is to be read."""
    objective = workspace.project.objective
    kinds = {s.name: {"unit": s.unit, "higher_is_better": s.higher_is_better} for s in (objective.primary(), *objective.others())}
    return {name: {**estimate, **kinds[name]} for name, estimate in built.result.scores.items()}


def details(built: Built[Any]) -> Found:
    """What stands beside the figures: parts, reliability, the spread of the rows' own scores, answers cut, the most frequent answer."""
    scores = json.loads((built.path / "scores.json").read_text(encoding="utf-8"))
    rows, metric = read_predictions(built.path), built.result.metric
    values = [r["scores"][metric] for r in rows if r["scores"][metric] is not None]
    labels = [r["label"] for r in rows if r["label"] is not None]
    return {
        "parts": scores["parts"],
        "reliability": scores["reliability"].get("ece", []),
        "spread": [sum(spread_bin(v) == i for v in values) for i in range(10)],
        "cut": built.result.num_cut,
        "empty_answers": sum(not r["output"].strip() for r in rows),
        "words_an_answer": sum(len(r["output"].split()) for r in rows) / len(rows),
        "labels": len(set(labels)),
        "most_frequent": max((labels.count(x) for x in set(labels)), default=0) / len(rows),
    }


def spread_bin(value: float) -> int:
    """The tenth of [0, 1] that a row's score lies in."""
    return min(9, int(10 * value))


if __name__ == "__main__":
    raise SystemExit(main())
