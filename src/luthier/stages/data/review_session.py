"""One reviewer's way through a queue: what comes next, what a decision must look like, progress and agreement.

One decision: what was skipped comes back in the next session, after what has not been looked at; the terminal, a file of
decisions and the browser decide through the same checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luthier.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from luthier.core.database.review import Action, Decision, ReviewItem, ReviewQueue

Steps = tuple[str | int, ...]


def editable_texts(item: ReviewItem, label_column: str) -> Iterator[tuple[Steps, str]]:
    """(path, text) of every text in a row's columns; the label is changed by relabelling."""
    for name, value in item.body["fields"].items():
        if name != label_column or not label_column:
            yield from _texts((name,), value)


def _texts(path: Steps, value: Any) -> Iterator[tuple[Steps, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts((*path, name), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _texts((*path, i), inner)


def suggestion_of(item: ReviewItem) -> str | None:
    """The label that a check suggests for a row, or None."""
    return next((f["suggestion"] for f in item.body["findings"] if f["suggestion"] is not None), None)


def relabelled(label: str) -> dict[str, Any]:
    """The body of a relabel."""
    return {"label": label}


def edited(texts: dict[Steps, str]) -> dict[str, Any]:
    """The body of an edit: new texts by their path."""
    return {"texts": [{"path": list(path), "text": text} for path, text in texts.items()]}


def check_decision(queue: ReviewQueue, item: ReviewItem, action: str, body: dict[str, Any]) -> None:
    """Raise UserError for a decision that cannot be applied to the row."""
    from luthier.core.database.review import ACTIONS

    where = f"{queue.name} {item.place}"
    if action not in ACTIONS:
        raise UserError("a known action is wanted", repr(action), where, did_you_mean(action, ACTIONS))
    if action == "relabel":
        labels = queue.body["labels"]
        if not queue.body["label_column"]:
            raise UserError("only rows with a label can be relabelled", queue.body["mapping"]["kind"], where, "edit the row instead")
        if body.get("label") not in labels:
            raise UserError("a label of the file is wanted", repr(body.get("label")), where, did_you_mean(str(body.get("label")), labels))
        if body["label"] == item.body["label"]:
            raise UserError("a relabel must change the label", repr(body["label"]), where, "accept the row as it is")
    if action == "edit":
        known = dict(editable_texts(item, queue.body["label_column"]))
        texts = body.get("texts")
        if not isinstance(texts, list) or not texts or not all(isinstance(t, dict) and isinstance(t.get("path"), list) for t in texts):
            raise UserError("an edit must have `texts`, each with `path` and `text`", repr(body)[:200], where)
        for text in texts:
            path = tuple(text["path"])
            if path not in known or not isinstance(text.get("text"), str):
                raise UserError("an edit must name a text of the row", ".".join(map(str, path)), where)
        if all(known[tuple(t["path"])] == t["text"] for t in texts):
            raise UserError("an edit must change a text", "the same texts", where, "accept the row as it is")


@dataclass
class ReviewSession:
    """Items in the order in which `reviewer` is asked; every decision is stored before the next item is shown.

    settle: what was said about each row (by its place) on which reviewers disagree; only those are asked about, again where
    `reviewer` has decided about them before.
    """

    queue: ReviewQueue
    reviewer: str
    settle: dict[str, str] | None = None
    items: list[ReviewItem] = field(default_factory=list)
    order: list[ReviewItem] = field(default_factory=list)
    at: int = 0
    decided: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.items = self.queue.items()
        self.decided = {d.item: d.action for d in self.queue.decisions() if d.reviewer == self.reviewer}
        skipped = [item for item in self.items if self.decided.get(item.id) == "skip"]
        self.order = [item for item in self.items if item.id not in self.decided] + skipped
        if self.settle is not None:
            self.order = [item for item in self.items if item.place in self.settle]

    @property
    def current(self) -> ReviewItem | None:
        """The item to decide about; None when nothing is left in this session."""
        return self.order[self.at] if self.at < len(self.order) else None

    @property
    def done(self) -> int:
        """Items decided about and not skipped."""
        return sum(action != "skip" for action in self.decided.values())

    @property
    def skipped(self) -> int:
        """Items that were skipped."""
        return len(self.decided) - self.done

    def decide(self, action: Action, body: dict[str, Any] | None = None) -> None:
        """Store a decision about the current item and go on. Raises UserError for one that cannot be applied."""
        item = self.current
        assert item is not None
        check_decision(self.queue, item, action, body or {})
        self.queue.decide(item.id, self.reviewer, action, body)
        self.decided[item.id] = action
        self.at += 1

    def undo(self) -> ReviewItem | None:
        """Take back the last decision, of an earlier session too, and come back to its item; None when there is none."""
        taken = self.queue.undo(self.reviewer)
        if taken is None:
            return None
        before = {d.item: d.action for d in self.queue.decisions() if d.reviewer == self.reviewer}
        self.decided = dict(before)
        item = next(i for i in self.items if i.id == taken.item)
        if item in self.order:
            self.at = self.order.index(item)
        else:
            self.order.insert(self.at, item)
        return item


def said(decision: Decision) -> str:
    """A decision as the category that agreement is counted in: the action, and the label of a relabel."""
    return f"relabel: {decision.body['label']}" if decision.action == "relabel" else decision.action


def counts_by_reviewer(decisions: Sequence[Decision]) -> dict[str, dict[str, int]]:
    """How often each reviewer decided what."""
    out: dict[str, Counter[str]] = {}
    for decision in decisions:
        out.setdefault(decision.reviewer, Counter())[decision.action] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(out.items())}


def agreement(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Agreement on the items that two or more reviewers decided about (skips do not count): Cohen's kappa for two, else alpha.

    `measure`, `value` with its interval, `items`, `same` (items on which all say the same); `measure` None with `why` when there is none.
    """
    from luthier.stats.agreement import cohen_kappa, krippendorff_alpha, strength

    told: dict[int, dict[str, str]] = {}
    for decision in decisions:
        if decision.action != "skip":
            told.setdefault(decision.item, {})[decision.reviewer] = said(decision)
    shared = [by for by in told.values() if len(by) >= 2]
    names = sorted({name for by in shared for name in by})
    same = sum(len(set(by.values())) == 1 for by in shared)
    if not shared:
        return {"measure": None, "items": 0, "same": 0, "why": "no item has been decided by two reviewers"}
    try:
        if len(names) == 2:
            found, measure = cohen_kappa([by[names[0]] for by in shared], [by[names[1]] for by in shared]), "cohen_kappa"
        else:
            found, measure = krippendorff_alpha([[by.get(name) for name in names] for by in shared]), "krippendorff_alpha"
    except UserError as err:
        return {"measure": None, "items": len(shared), "same": same, "why": str(err)}
    interval = {"value": found.value, "low": found.low, "high": found.high}
    return {"measure": measure, **interval, "items": len(shared), "same": same, "strength": strength(found.value), "reviewers": names}
