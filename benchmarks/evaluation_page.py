"""The figures and plots of docs/evaluation.md, from the newest JSON of each set; no figure of the page is typed by hand.

One decision: everything between the two marks of the page is made here, in every run anew; what stands around them is written by hand
and holds no figure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation_sets import SETS

BEGIN, END = "<!-- evaluation: begin -->", "<!-- evaluation: end -->"
Found = dict[str, Any]


def write_page(results: Path, docs: Path) -> None:
    """Put the tables of the newest results between the marks of docs/evaluation.md and the plots into docs/evaluation/."""
    from evaluation_plots import overview_svg, set_svg

    found = newest(results)
    if not found:
        raise SystemExit(f"no results in {results}: run `python benchmarks/evaluation.py` first")
    page, plots = docs / "evaluation.md", docs / "evaluation"
    plots.mkdir(exist_ok=True)
    (plots / "overview.svg").write_text(overview_svg(found), encoding="utf-8")
    for one in found:
        (plots / f"{one['set']}.svg").write_text(set_svg(one), encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{page} must have one line {BEGIN} and one line {END}")
    body = "\n\n".join([overview_table(found), *(section(one) for one in found)])
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{body}\n\n{END}", text), encoding="utf-8")


def newest(results: Path) -> list[Found]:
    """The newest result of each set, in the order of the sets."""
    files = [max(results.glob(f"*-eval-{name}.json"), default=None) for name in SETS]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file is not None]


def overview_table(found: Sequence[Found]) -> str:
    """One line for each set."""
    head = "| set | test rows | asked | deciding metric (95 % interval) | without a model | CPU s a row |\n|---|---|---|---|---|---|"
    lines = [
        f"| [{f['title']}](#{anchor(f['title'])}) | {f['rows']['test']:,} | {f['asked']['chosen']} | `{f['metric']}` "
        f"{shown(f['base_scores'][f['metric']])} | {chance(f)} | {f['cost']['cpu_seconds_per_row']:.2f} |"
        for f in found
    ]
    dates = sorted({f["date"] for f in found})
    said = f"Base: `{found[0]['base']}`, {threads(found[0]['threads'])}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}."
    plot = "![The deciding metric of each set with its interval](evaluation/overview.svg)"
    return "\n\n".join([said, "\n".join([head, *lines]), plot])


def anchor(title: str) -> str:
    """The address of a heading within the page."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()))


def threads(number: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} thread{'s' * (number != 1)}"


def chance(found: Found) -> str:
    """What the most frequent label would reach."""
    return f"{100 * found['most_frequent']:.1f} %" if found["labels"] else ""


def section(found: Found) -> str:
    """One set: what was asked, every metric, the plot, and the short tune where there is one."""
    rows = ", ".join(f"{n:,} {split}" for split, n in found["rows"].items())
    tried = ", ".join(f"{name} {value:.3f}" for name, value in found["asked"]["validation"].items())
    said = f"Rows: {rows}. On the validation rows `{found['metric']}` was {tried}."
    said += f" {found['cut']:,} answers reached the limit of tokens." if found["cut"] else ""
    plot = f"![Metrics of {found['title']} with their intervals]({'evaluation/' + found['set']}.svg)"
    parts = [f"## {found['title']}", said, metrics_table(found), *beside(found), plot]
    if "tuned" in found:
        steps, rows_used = found["tuned"]["steps"], found["tuned"]["rows"]
        parts.append(f"Tuned with LoRA on {rows_used:,} rows, {steps} optimiser steps. {found['tuned']['verdict']['sentence']}")
    return "\n\n".join(parts)


def metrics_table(found: Found) -> str:
    """Every metric of the base, and of the tuned model beside it."""
    tuned = found.get("tuned", {}).get("scores")
    head = "| metric | better | base |" + (" tuned |" if tuned else "") + "\n|---|---|---|" + ("---|" if tuned else "")
    lines = []
    for name, estimate in found["base_scores"].items():
        cells = [f"`{name}`", "higher" if estimate["higher_is_better"] else "lower", shown(estimate)]
        lines.append("| " + " | ".join([*cells, *([shown(tuned[name])] if tuned else [])]) + " |")
    return "\n".join([head, *lines])


def beside(found: Found) -> list[str]:
    """The parts of the metrics in a line, without intervals."""
    said = [
        f"`{metric}`: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in parts.items())
        for metric, parts in found["parts"].items()
    ]
    return [f"Beside them, without intervals: {'; '.join(said)}."] if said else []


def shown(estimate: Found) -> str:
    """A figure with its interval: shares in per cent, numbers to three digits."""
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if estimate["unit"] == "share":
        return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    return f"{value:.3g} ({low:.3g} to {high:.3g})"
