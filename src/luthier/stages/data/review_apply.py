"""What a review comes to: one outcome for each row, the file with the outcomes applied, and decisions as a file.

One decision: the input is never touched, and what reviewers disagree about stops the writing until somebody says what is to
become of it; a strict majority of those who decided about a row counts, one reviewer alone counts.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from luthier.core.errors import AnswerIsNo, UserError
from luthier.core.files import fsync_path, replacing, write_atomic, writing
from luthier.core.ledger import Fate, LedgerEntry, entry_json
from luthier.parts.sources.mapping import mapping_from
from luthier.parts.sources.rows import BadRow, RawRow
from luthier.parts.sources.source import open_rows
from luthier.stages.data.duplicates import WRITERS, check_out
from luthier.stages.data.review import SAMPLE, content_of
from luthier.stages.data.review_session import check_decision

if TYPE_CHECKING:
    from luthier.core.database.review import Decision, ReviewItem, ReviewQueue

Disputed = Literal["stop", "keep", "set_aside"]
STEP = "review"
_FATES: dict[str, Fate] = {"accept": "kept", "edit": "changed", "relabel": "changed", "reject": "dropped"}
_DONE = {"accept": "accepted", "edit": "edited", "relabel": "relabelled", "reject": "rejected"}
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a row of the queue. action: None while nobody has decided, or when reviewers disagree."""

    action: str | None
    body: dict[str, Any]
    words: str
    disputed: bool = False


@dataclass
class Applied:
    """What was written: rows by fate, where the rows and the ledger are, and how many rows nobody has decided about."""

    out: Path
    ledger: Path
    fates: Counter[str] = field(default_factory=Counter)
    undecided: int = 0
    disputed: int = 0


def outcomes(items: Sequence[ReviewItem], decisions: Sequence[Decision]) -> dict[str, Outcome]:
    """The outcome of each row of the queue, by its place."""
    by_item: dict[int, list[Decision]] = {}
    for decision in decisions:
        if decision.action != "skip":
            by_item.setdefault(decision.item, []).append(decision)
    return {item.place: _outcome(item, by_item.get(item.id, [])) for item in items}


def sample_rate(items: Sequence[ReviewItem], decisions: Sequence[Decision]) -> dict[str, Any] | None:
    """Of the rows drawn at random: how many were decided about, how many not accepted, and the rate with its Wilson interval."""
    from luthier.stats.intervals import wilson

    drawn = [item for item in items if item.body["findings"][0]["check"] == SAMPLE]
    ends = outcomes(drawn, decisions)
    actions = [outcome.action for outcome in ends.values() if outcome.action is not None]
    if not actions:
        return None
    wrong = sum(action != "accept" for action in actions)
    rate = wilson(wrong, len(actions))
    return {"drawn": len(drawn), "decided": len(actions), "wrong": wrong, "value": rate.value, "low": rate.low, "high": rate.high}


def _outcome(item: ReviewItem, decisions: Sequence[Decision]) -> Outcome:
    if not decisions:
        checks = ", ".join(sorted({f["check"] for f in item.body["findings"]}))
        return Outcome(None, {}, "drawn at random, not decided" if checks == SAMPLE else f"suspected ({checks}), not decided")
    kinds: dict[str, list[Decision]] = {}
    for decision in decisions:
        kinds.setdefault(json.dumps([decision.action, decision.body], sort_keys=True), []).append(decision)
    ranked = sorted(kinds.values(), key=len, reverse=True)
    words = "; ".join(_words(item, same) for same in ranked)
    if 2 * len(ranked[0]) > len(decisions):
        return Outcome(ranked[0][0].action, ranked[0][0].body, words)
    return Outcome(None, {}, f"reviewers disagree: {words}", disputed=True)


def _words(item: ReviewItem, same: Sequence[Decision]) -> str:
    first = same[0]
    names = ", ".join(sorted(d.reviewer for d in same))
    what = _DONE[first.action]
    if first.action == "relabel":
        what += f" {item.body['label']!r} -> {first.body['label']!r}"
    if first.action == "edit":
        what += " " + ", ".join(".".join(map(str, text["path"])) for text in first.body["texts"])
    return f"{what} by {names}"


def apply_review(queue: ReviewQueue, out: Path, disputed: Disputed = "stop") -> Applied:
    """Write the file's rows with the outcomes applied to `out` (.jsonl or .csv), every other column as it was read; the ledger beside it.

    disputed: what becomes of a row on which reviewers disagree. Raises AnswerIsNo for such rows under `stop`, UserError when the
    file is no longer the one that was reviewed, or `out` cannot be written to.
    """
    ledger = out.with_name(f"{out.stem}.ledger.jsonl")
    check_out(out, "--apply")
    check_out(ledger, "--apply")
    path = Path(queue.body["path"])
    if content_of(path) != queue.body["sha256"]:
        raise UserError("the file must be the one that was reviewed", f"{path}, which has changed since", fix="review it again")
    ends = outcomes(queue.items(), queue.decisions())
    open_questions = [place for place, outcome in ends.items() if outcome.disputed]
    if open_questions and disputed == "stop":
        shown = "\n".join(f"  {place}: {ends[place].words}" for place in open_questions[:_SHOWN])
        more = f"\n  and {len(open_questions) - _SHOWN:,} more" if len(open_questions) > _SHOWN else ""
        fix = "decide about them again with --settle, or say what becomes of them: --disputed keep, or --disputed set_aside"
        raise AnswerIsNo(f"reviewers disagree on {len(open_questions):,} rows; {fix}\n{shown}{more}")
    done = Applied(out, ledger, undecided=sum(o.action is None and not o.disputed for o in ends.values()), disputed=len(open_questions))
    with writing(out), replacing(out) as rows_aside, replacing(ledger) as told_aside:
        with rows_aside.open("wb") as rows, told_aside.open("w", encoding="utf-8", newline="\n") as told:
            for line in WRITERS[out.suffix.lower()](_rows_after(queue, path, ends, disputed, _Telling(told, done.fates))):
                rows.write(line)
        fsync_path(rows_aside)
        fsync_path(told_aside)
    return done


@dataclass
class _Telling:
    """Writes the ledger's lines and counts the fates."""

    told: IO[str]
    fates: Counter[str]

    def __call__(self, source: str, fate: Fate, reason: str) -> None:
        self.fates[fate] += 1
        self.told.write(json.dumps(entry_json(LedgerEntry("", "", source, STEP, fate, reason)), ensure_ascii=False) + "\n")


def _rows_after(queue: ReviewQueue, path: Path, ends: dict[str, Outcome], disputed: Disputed, tell: _Telling) -> Iterator[RawRow]:
    """The rows that stay, as they are after the review; each row's fate is told."""
    for item in open_rows(path, mapping=mapping_from(queue.body["mapping"])).items:
        if isinstance(item, BadRow):
            tell(f"{path.name} {item.at}", "set_aside", item.reason)
        if not isinstance(item, RawRow):
            continue
        outcome = ends.get(item.at, Outcome(None, {}, ""))
        fate: Fate = _FATES[outcome.action] if outcome.action else "kept"
        if outcome.disputed and disputed == "set_aside":
            fate = "set_aside"
        tell(f"{path.name} {item.at}", fate, outcome.words)
        if fate == "changed":
            yield RawRow(item.at, _changed(queue, item.fields, outcome))
        elif fate == "kept":
            yield item


def _changed(queue: ReviewQueue, fields: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The row with its new label or texts."""
    if outcome.action == "relabel":
        return {**fields, queue.body["label_column"]: queue.body["labels"][outcome.body["label"]]}
    out = copy.deepcopy(fields)
    for text in outcome.body["texts"]:
        here: Any = out
        for step in text["path"][:-1]:
            here = here[step]
        here[text["path"][-1]] = text["text"]
    return out


def export_decisions(queue: ReviewQueue, out: Path) -> int:
    """Write every standing decision to a new JSONL file; returns how many."""
    if out.suffix.lower() != ".jsonl":
        raise UserError("`--export` must end in .jsonl", repr(out.name), "--export")
    check_out(out, "--export")
    place_of = {item.id: item.place for item in queue.items()}
    lines = [
        {"file": queue.body["sha256"], "at": place_of[d.item], "reviewer": d.reviewer, "action": d.action, **d.body, "created": d.created}
        for d in queue.decisions()
    ]
    write_atomic(out, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    return len(lines)


def import_decisions(queue: ReviewQueue, path: Path, reviewer: str | None) -> tuple[int, int]:
    """Add the decisions of a JSONL file (`at`, `action`, and `label` or `texts`); returns how many were new and how many known.

    reviewer: who decided, where a line does not say. Raises UserError naming the line, before anything is added.
    """
    items = {item.place: item for item in queue.items()}
    known = {(d.item, d.reviewer): (d.action, d.body) for d in queue.decisions()}
    new: list[tuple[int, str, Any, dict[str, Any], str]] = []
    told = 0
    for row in open_rows(path).items if not path.is_file() or path.stat().st_size else ():
        if isinstance(row, BadRow):
            raise UserError("every line must be a decision", row.reason, f"{path.name} {row.at}")
        if not isinstance(row, RawRow):
            continue
        told += 1
        line, where = row.fields, f"{path.name} {row.at}"
        item, name = items.get(str(line.get("at"))), line.get("reviewer") or reviewer
        if line.get("file", queue.body["sha256"]) != queue.body["sha256"]:
            raise UserError("the decisions must be about the file that is reviewed", f"file {str(line['file'])[:12]}", where)
        if item is None:
            raise UserError("a decision must name a row of the queue", f"at {line.get('at')!r}", where)
        if not isinstance(name, str) or not name.strip():
            raise UserError("a decision must say whose it is", "no `reviewer`", where, "give --reviewer")
        body = {key: line[key] for key in ("label", "texts") if key in line}
        check_decision(queue, item, str(line.get("action")), body)
        if known.get((item.id, name)) != (line.get("action"), body):
            new.append((item.id, name, line.get("action"), body, str(line.get("created") or "")))
    for item_id, name, action, body, created in new:
        queue.decide(item_id, name, action, body, created)
    return len(new), told - len(new)
