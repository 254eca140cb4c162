"""What `luthier data clean`, `why` and `diff` print for people: diffs in colour, fates and stories.

One decision: a character that nobody sees is shown by its code where it was changed, so that every change can be seen; without
colour the old text stands in [- -] and the new one in {+ +}.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from luthier.cli.documents import DataCleanDocument, DataDiffDocument, DataWhyDocument
from luthier.cli.tables import console, print_table
from luthier.core.ledger import FATES
from luthier.core.records import to_json
from luthier.pipeline.data_story import Story
from luthier.stages.data.clean_file import FileCleaning
from luthier.stages.data.clean_output import changes_beside
from luthier.stages.data.compare_rows import RowChange, Side, compare, findings, label_counts, lengths, shift

MOST = 1000
CONTEXT = 40
_WORDS = re.compile(r"\w+|\s|[^\w\s]")
_MOST_WORDS = 2000
_SHOWN_AS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}
STYLES = {"kept": "green", "changed": "cyan", "set_aside": "yellow", "dropped": "red", "planted": "magenta"}


def inline_diff(before: str, after: str, colour: bool) -> Text:
    """One text with what went and what came, around the places that differ."""
    head = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    start, end = max(0, head - CONTEXT), max(0, tail - CONTEXT)
    old, new = (_WORDS.findall(text[start : len(text) - end]) for text in (before, after))
    out = Text("…" if start else "")
    if max(len(old), len(new)) > _MOST_WORDS:
        pairs = [("replace", [*old[:200], "…"], [*new[:200], "…"])]
    else:
        codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        pairs = [(tag, old[a:b], new[c:d]) for tag, a, b, c, d in codes]
    for tag, went, came in pairs:
        if tag == "equal":
            out.append(_safe("".join(went)))
            continue
        if went:
            words = _seen("".join(went))
            out.append(words if colour else f"[-{words}-]", style="red strike" if colour else "")
        if came:
            words = _seen("".join(came))
            out.append(words if colour else f"{{+{words}+}}", style="bold green" if colour else "")
    return out.append("…" if end else "")


def _safe(text: str) -> str:
    """Text that cannot steer a terminal, in one line."""
    return "".join("↵" if c == "\n" else c if c.isprintable() else f"⟨U+{ord(c):04X}⟩" for c in text)


def _seen(text: str) -> str:
    """Changed text with every character visible."""
    odd = ("Cf", "Cc", "Cs", "Zs", "Zl", "Zp", "Co", "Cn")
    return "".join(_SHOWN_AS.get(c) or (f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in odd else c) for c in text)


def print_cleaning(done: FileCleaning, out: Path | None, rows: int) -> DataCleanDocument:
    """The first changes as diffs, the first rows taken away, then the counts."""
    screen = console()
    for note in done.notes:
        screen.print(Text(f"{done.name}: {note}"), soft_wrap=True)
    for at, edit in done.edits[:rows]:
        _print_change(screen, f"{at} {edit.field} ({edit.step})", edit.before, edit.after)
    for gone in done.gone[:rows]:
        screen.print(Text(f"{gone.at} {gone.fate.replace('_', ' ')}: {_safe(gone.reason)}", style=STYLES[gone.fate]), soft_wrap=True)
    edits, removed = done.repairs.total(), done.fates["set_aside"] + done.fates["dropped"]
    more = edits + removed - min(rows, len(done.edits)) - min(rows, len(done.gone))
    if more:
        screen.print(
            Text(f"and {more:,} more changes and rows taken away; -n lists more of them, --json up to {MOST:,} of each"), soft_wrap=True
        )
    total = max(1, done.rows)
    table = [(fate.replace("_", " "), f"{done.fates[fate]:,}", f"{100 * done.fates[fate] / total:.1f} %") for fate in FATES]
    print_table(f"{done.name}: {done.rows:,} rows", ("fate", "rows", "share"), table)
    counted = [("repaired by", done.repairs), ("taken away by", done.checks), ("found by", done.findings.counts - done.checks)]
    listed = [(what, name, f"{n:,}") for what, counts in counted for name, n in counts.most_common()]
    if listed:
        print_table("", ("what", "part", "texts or rows"), listed)
    screen.print(
        Text(f"written: {out} and {changes_beside(out)}" if out else "nothing was written; give --out to write the rows that are left")
    )
    return DataCleanDocument(
        file=done.name,
        format=done.format,
        mapping=done.mapping,
        rows=done.rows,
        fates={fate: done.fates[fate] for fate in FATES},
        repairs=dict(done.repairs),
        checks=dict(done.checks),
        changes=tuple({"at": at, **asdict(edit)} for at, edit in done.edits),
        removed=tuple(asdict(g) for g in done.gone),
        findings=tuple(asdict(f) for f in done.findings.all()),
        notes=tuple(done.notes),
        out=str(out) if out else None,
        changes_file=str(changes_beside(out)) if out else None,
    )


def _print_change(screen: Console, head: str, before: str, after: str) -> None:
    screen.print(Text(head, style="dim"))
    indent = " " * (len(head) - len(head.lstrip()) + 2)
    screen.print(Text(indent).append_text(inline_diff(before, after, bool(screen.color_system))), soft_wrap=True)


def print_stories(row: str, stories: Sequence[Story]) -> DataWhyDocument:
    """Each story from the beginning to the end."""
    screen = console()
    for story in stories:
        screen.print(Text(f"{story.source}  {' -> '.join(filter(None, story.keys))}", style="bold"))
        for entry in story.steps:
            words = f"  {entry.step}: {entry.fate.replace('_', ' ')}" + (f" ({_safe(entry.reason)})" if entry.reason else "")
            screen.print(Text(words, style=STYLES[entry.fate]), soft_wrap=True)
            for change in story.changes if entry.step == "clean" else ():
                _print_change(screen, f"    {change['field']} ({change['step']})", change["before"], change["after"])
        for found in story.findings:
            screen.print(Text(f"  found by {found['check']} ({found['step']}): {_safe(found['reason'])}"), soft_wrap=True)
        for answer in story.answers:
            scores = ", ".join(f"{name} {value:g}" for name, value in answer["scores"].items())
            screen.print(Text(f"  {answer['model']} answered {_safe(answer['output'])!r} ({scores})"), soft_wrap=True)
    return DataWhyDocument(row=row, stories=tuple(asdict(s) for s in stories))


def print_diff(a: Side, b: Side, rows: int) -> DataDiffDocument:
    """The counts, the first rows of each kind, then how labels, lengths and findings moved."""
    screen, got = console(), compare(a, b)
    counts = {"same": got.same} | {n: len(getattr(got, n)) for n in ("added", "removed", "changed", "moved")}
    sizes = {a.name: len(a.rows), b.name: len(b.rows)}
    screen.print(Text(f"A: {a.name} ({len(a.rows):,} rows)   B: {b.name} ({len(b.rows):,} rows)", style="bold"), soft_wrap=True)
    print_table("", ("rows", ""), [(k, f"{n:,}") for k, n in counts.items()])
    for sign, style, records in (("-", "red", got.removed), ("+", "green", got.added)):
        for record in records[:rows]:
            screen.print(Text(f"{sign} {record.source}: {_safe(_said(record))}", style=style), soft_wrap=True)
    for change in got.changed[:rows]:
        _print_pair(screen, change)
    for record, before, after in got.moved[:rows]:
        screen.print(Text(f"{record.source}: {before} -> {after}"), soft_wrap=True)
    labels = {"a": label_counts(a.rows), "b": label_counts(b.rows)}
    figures, found = {"a": lengths(a.rows), "b": lengths(b.rows)}, {"a": findings(a.rows), "b": findings(b.rows)}
    moved = shift(labels["a"], labels["b"]) if labels["a"] or labels["b"] else None
    _print_moves(labels, moved, figures, found)
    return DataDiffDocument(
        a=a.name,
        b=b.name,
        rows={"a": sizes[a.name], "b": sizes[b.name]},
        counts=counts,
        added=tuple(to_json(r) for r in got.added[:MOST]),
        removed=tuple(to_json(r) for r in got.removed[:MOST]),
        changed=tuple(_changed(c) for c in got.changed[:MOST]),
        moved=tuple({"source": str(r.source), "before": x, "after": y} for r, x, y in got.moved[:MOST]),
        labels=labels,
        label_shift=moved,
        lengths=figures,
        findings=found,
    )


def _said(record: Any) -> str:
    """The beginning of what a row says, last turn included."""
    body = to_json(record)
    turns = body.get("messages") or body.get("prompt") or []
    return " | ".join(m["content"] for m in turns)[:160] or str(body.get("text", ""))[:160]


def _changed(change: RowChange) -> dict[str, Any]:
    sources = {"before": str(change.before.source), "after": str(change.after.source)}
    return {"sources": sources, "by": change.by, "fields": [asdict(f) for f in change.fields]}


def _print_pair(screen: Console, change: RowChange) -> None:
    for field in change.fields:
        before, after = ("" if v is None else v if isinstance(v, str) else repr(v) for v in (field.before, field.after))
        _print_change(screen, f"~ {change.after.source} {field.field} (paired by {change.by})", before, after)


def _print_moves(labels: dict[str, Any], moved: float | None, figures: dict[str, Any], found: dict[str, Any]) -> None:
    """Three tables: what differs between the sides, and nothing of what does not."""
    a, b = labels["a"], labels["b"]
    rows = [(k, f"{a.get(k, 0):,}", f"{b.get(k, 0):,}") for k in sorted({*a, *b}) if a.get(k, 0) != b.get(k, 0)]
    if moved is not None:
        title = (
            f"labels: {100 * moved:.1f} % of the rows would have to change theirs for equal shares" if rows else "labels: no count differs"
        )
        console().print(Text(title, style="bold"), soft_wrap=True)
        if rows:
            print_table("", ("label", "A", "B"), rows[:40])
    for name in sorted({*figures["a"], *figures["b"]}):
        x, y = figures["a"].get(name, {}), figures["b"].get(name, {})
        cells = [(k if k == "mean" else f"{k} % have at most", f"{x.get(k, 0):g}", f"{y.get(k, 0):g}") for k in {**x, **y}]
        print_table(f"characters of the {name}", ("", "A", "B"), cells)
    checks = sorted({*found["a"], *found["b"]})
    if checks:
        print_table("findings", ("check", "A", "B"), [(c, f"{found['a'].get(c, 0):,}", f"{found['b'].get(c, 0):,}") for c in checks])
