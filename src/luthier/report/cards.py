"""The model card and the data card in Markdown, from a run's report.

One decision: a card says only what the report holds, and says aloud what nobody measured (bias above all),
so an empty card can never look like a clean bill of health.
"""

from __future__ import annotations

import json
import re

from luthier.report import numbers
from luthier.report.markdown import bars_table, code, metrics_table, robustness_table, safe, table
from luthier.report.model import RunReport
from luthier.report.sections import Data

SPDX = {"cc by 4.0": "cc-by-4.0", "cc by-sa 4.0": "cc-by-sa-4.0", "cc0 1.0": "cc0-1.0", "apache 2.0": "apache-2.0"}

_LOADERS = {
    "decoder": ("AutoModelForCausalLM", "text-generation"),
    "encoder": ("AutoModelForSequenceClassification", "text-classification"),
    "seq2seq": ("AutoModelForSeq2SeqLM", "text2text-generation"),
}
"""Of a base's kind: the class of transformers that loads it, and the hub's name of what it does."""


def model_card(report: RunReport) -> str:
    """README.md of the adapter: front matter as model hubs read it, then purpose, data, results, limits, use."""
    m, goal = report.model, report.objective
    parts = [
        _front_matter(report),
        f"# {safe(report.run.name)}",
        f"A fine-tuned version of {code(m.base)} ({safe(m.source or 'source not stated')}), method: {safe(m.method or 'not stated')}.",
        f"**Verdict: {report.verdict.decision}.** {safe(numbers.verdict_sentence(report))} "
        + f"{numbers.verdict_figures(report.verdict, goal.unit)}.",
        "## Purpose\n\n" + _purpose(report),
        "## Data\n\n" + _sources(report.data) + "\n\n" + _splits(report.data) + "\n\nMore in the data card.",
        "## Training\n\n" + _training(report),
        "## Results\n\n" + _results(report),
        "## Robustness\n\n" + (robustness_table(report) if report.robustness else "Rows of other kinds and changed rows: not measured."),
        "## Limits\n\n" + _limits(report),
        "## Bias\n\nBias towards groups of people was **not measured**. Measure it on your own rows before the model decides about people.",
        "## How to load it\n\n" + _loading(report),
        "## How to reproduce it\n\n" + _reproduce(report),
        "## Licence\n\n" + _licence(report),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def data_card(report: RunReport) -> str:
    """What the rows are: sources, licences, steps with counts by fate, splits, classes, lengths, findings, limits."""
    d = report.data
    parts = [
        f"# Data of {safe(report.run.name)}",
        "## Sources and licences\n\n" + _sources(d) + "\n\n" + _rights(report),
        "## What became of the rows\n\n" + _ledger(d),
        "## Splits\n\n" + _splits(d),
        "## Classes\n\n" + _classes(d),
        "## Lengths\n\n" + _lengths(report),
        "## Findings\n\n" + _findings(d),
        "## Limits\n\n" + _limits(report) + "\n- Who wrote the rows, and whom they speak of, was not measured.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(report: RunReport) -> str:
    """YAML front matter; every value is a JSON string, which YAML reads as the same string."""
    m, v = report.model, report.verdict
    metric = {"type": v.metric, "value": round(v.tuned, 6), "name": v.metric}
    result = {
        "task": {"type": report.objective.task},
        "dataset": {"type": "local", "name": report.run.project or report.run.name},
        "metrics": [metric],
    }
    fields: dict[str, object] = {
        "base_model": m.source or m.base,
        "library_name": "peft",
        "pipeline_tag": _LOADERS[m.kind][1],
        "license": _spdx(m.licence) if m.licence else "unknown",
        "tags": ["luthier", *([m.method] if m.method else [])],
        "metrics": [v.metric],
        "model-index": [{"name": report.run.name, "results": [result]}],
    }
    lines = [f"{name}: {_yaml(x)}" for name, x in fields.items()]
    return "---\n" + "\n".join(lines) + "\n---"


def _yaml(value: object) -> str:
    """A value as JSON on one line, which YAML reads alike once the characters that it calls unprintable are escaped."""
    plain = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found.group()):04x}", plain)


def _spdx(licence: str) -> str:
    known = licence.strip().lower()
    return SPDX.get(known, re.sub(r"\s+", "-", known))


def _purpose(report: RunReport) -> str:
    goal = report.objective
    return "\n".join(
        (
            f"- Goal: {safe(goal.goal or 'not stated')}",
            f"- Task: {safe(goal.task)}, judged by {safe(goal.metric)} ({'higher' if goal.higher_is_better else 'lower'} is better)",
            f"- Constraints: {safe('; '.join(goal.constraints) or 'none stated')}",
            f"- Intended use: {safe(goal.use or 'not stated')}",
            f"- People affected: {safe('; '.join(goal.affected) or 'not stated')}",
        )
    )


def _sources(d: Data) -> str:
    if not d.sources:
        return "Sources: not recorded."
    rows = [[safe(s.file), numbers.count(s.num_rows), safe(s.licence or "not stated"), s.sha256[:12] or "not recorded"] for s in d.sources]
    return table(("file", "rows", "licence", "sha256"), rows)


def _rights(report: RunReport) -> str:
    """The intended use, and for each source what its licence allows, the consent and where the rows come from."""
    use = f"Intended use: {safe(report.objective.use or 'not stated')}."
    if not report.data.sources:
        return use
    rows = [
        [safe(s.file), safe(s.allows or "unknown"), safe((s.consent or "not stated").replace("_", " ")), safe(s.provenance or "not stated"),
         safe(s.permission or "none stated")]
        for s in report.data.sources
    ]  # fmt: skip
    told = "What a licence allows is read from a table of known licences; it is no legal advice."
    return f"{use} {told}\n\n" + table(("source", "its licence allows", "consent", "provenance", "permission beyond it"), rows)


def _splits(d: Data) -> str:
    if not d.splits:
        return "Splits: not recorded."
    return table(("split", "rows", "classes"), [[s.split, numbers.count(s.num_rows), str(len(s.classes) or "none")] for s in d.splits])


def _ledger(d: Data) -> str:
    if not d.ledger:
        return "Steps: not recorded."
    rows = [
        [safe(s.step), *(numbers.count(n) for n in (s.reached, s.kept, s.changed, s.set_aside, s.dropped)),
         "; ".join(f"{r.num_rows:,} {r.fate}: {safe(r.reason)}" for r in s.reasons)]
        for s in d.ledger
    ]  # fmt: skip
    return table(("step", "reached", "kept", "changed", "set aside", "dropped", "why"), rows)


def _classes(d: Data) -> str:
    labels = sorted({label for s in d.splits for label in s.classes})
    if not labels:
        return "The rows have no classes."
    rows = [[safe(label), *(numbers.count(s.classes.get(label, 0)) for s in d.splits)] for label in labels]
    return table(("class", *(s.split for s in d.splits)), rows)


def _lengths(report: RunReport) -> str:
    n = report.lengths
    if n is None:
        return "Row lengths: not measured."
    at = ", ".join(f"{tokens} at {k}%" for k, tokens in n.percentiles.items()) or numbers.NOT_MEASURED
    share = numbers.NOT_MEASURED if n.trained_share is None else numbers.value(n.trained_share)
    return "\n".join(
        (
            f"- Tokens in a row, by percentile: {at}",
            f"- Longest row kept whole: {numbers.count(n.max_length)} tokens; {n.num_cut:,} cut, {n.num_dropped:,} dropped",
            f"- Policy for longer rows: {safe(n.policy or 'not stated')}",
            f"- Trained tokens: {share} of all",
        )
    )


def _findings(d: Data) -> str:
    if not d.findings:
        return "No findings were recorded."
    return "\n".join(f"- {f.level}: {safe(f.text)}" + (f" ({safe(f.where)})" if f.where else "") for f in d.findings)


def _training(report: RunReport) -> str:
    t, m = report.training, report.model
    if t is None:
        return "Training: not recorded."
    settings = {**m.settings, **t.config}
    lines = [
        f"{t.num_steps:,} steps, best step {numbers.count(t.best_step)}, {numbers.seconds(t.seconds)}, peak memory "
        f"{numbers.megabytes(t.peak_memory_mb)}, energy {numbers.watt_hours(t.energy_wh)}.",
        "",
        safe(" ".join([t.diagnosis.text, *(x.text for x in t.further)])) if t.diagnosis else "Over- and underfitting: not measured.",
    ]
    lines += ["", _side_effects(report)]
    if settings:
        lines += ["", table(("setting", "value"), [[code(k), safe(numbers.setting(x))] for k, x in settings.items()])]
    return "\n".join(lines)


def _side_effects(report: RunReport) -> str:
    """Forgetting and memorisation, each with its figures or as not measured."""
    effects = report.side_effects
    if effects is None:
        return "Forgetting and memorisation: not measured."
    forgot = safe(effects.forgetting.text) if effects.forgetting else "Forgetting: not measured, the model writes no text."
    return f"{forgot}\n\n{safe(effects.memorisation.text)}"


def _results(report: RunReport) -> str:
    v, unit = report.verdict, report.objective.unit
    looks = "once" if v.looks == 1 else f"{v.looks} times"
    body = metrics_table(report) if report.evaluation.metrics else "Further metrics on the sealed rows: not measured."
    again = (
        "\n\n" + "\n".join(f"- look {i}: {safe(look.words())}" for i, look in enumerate(report.looks, 1))
        if v.looks > 1 and report.looks
        else ""
    )
    refused = f"\n\n**{safe(numbers.refused_sentence(report.refused))}**" if report.refused else ""
    bars = f"\n\n{safe(numbers.bars_sentence(report.bars))}\n\n{bars_table(report)}" if report.bars else ""
    return (
        f"On {v.num_rows:,} sealed test rows, looked at {looks}; {numbers.percent(1 - v.alpha)} intervals in brackets. "
        f"{numbers.detectable(v, unit)}\n\n{body}{bars}{refused}{again}"
    )


def _limits(report: RunReport) -> str:
    fixed = "The verdict holds for rows like the sealed ones, and for nothing else."
    return "\n".join(f"- {safe(x)}" for x in (*report.limits, fixed))


def _loading(report: RunReport) -> str:
    base, adapter = json.dumps(report.model.source or report.model.base), json.dumps(report.model.adapter or "path/to/adapter")
    loader = _LOADERS[report.model.kind][0]
    made = f"base, num_labels={max(1, len(report.model.labels))}" if report.model.kind == "encoder" else "base"
    lines = (
        "```python",
        "from peft import PeftModel",
        f"from transformers import {loader}, AutoTokenizer",
        "",
        f"base = {base}",
        f"adapter = {adapter}",
        "tokenizer = AutoTokenizer.from_pretrained(base)",
        f"model = PeftModel.from_pretrained({loader}.from_pretrained({made}), adapter).eval()",
        "```",
    )
    return "Plain `transformers` and PEFT, without Luthier; the prompt must have the form that it was trained on.\n\n" + "\n".join(lines)


def _reproduce(report: RunReport) -> str:
    lines = [f"- {code(c)}" for c in report.run.commands] or ["- Command: not recorded."]
    revision = report.machine.git_revision if report.machine else None
    seed = "not recorded" if report.run.seed is None else str(report.run.seed)
    versions = ", ".join(f"{k} {x}" for k, x in report.machine.versions.items()) if report.machine else ""
    lines += [f"- Revision: {safe(revision or 'not recorded')}; seed: {seed}", f"- Versions: {safe(versions or 'not recorded')}"]
    if report.model.adapter_sha256:
        lines.append(f"- Adapter sha256: {code(report.model.adapter_sha256)}")
    return "\n".join(lines)


def _licence(report: RunReport) -> str:
    data = sorted({s.licence or f"{s.file}: not stated" for s in report.data.sources})
    return (
        f"The base model's licence is {safe(report.model.licence or 'not stated')}; the data's: {safe('; '.join(data) or 'not stated')}. "
        "Both bind whoever uses or passes on this adapter."
    )
