"""The review queue in the project's database: items in their order, and what each reviewer decided about them.

One decision: a decision is committed before the next item is shown, and an undone one stays with the time of its undoing; the
terminal and the browser read and write through this class alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from luthier.core.database import Database, now
from luthier.core.database import tables as t
from luthier.core.errors import UserError, did_you_mean

Action = Literal["accept", "edit", "reject", "relabel", "skip"]
ACTIONS: tuple[Action, ...] = get_args(Action)


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One row to be looked at. place: where it stands in its file; body: its columns, label and findings, as plain JSON values."""

    id: int
    position: int
    place: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """What one reviewer decided about one item. body: the label of a relabel, the texts of an edit; empty otherwise."""

    id: int
    item: int
    reviewer: str
    action: Action
    body: dict[str, Any]
    created: str


@dataclass(frozen=True)
class ReviewQueue:
    """One queue. name: the file that it is about; body: how it was made, as plain JSON values."""

    database: Database
    number: int
    name: str
    body: dict[str, Any]

    @classmethod
    def find(cls, database: Database, identity: str) -> ReviewQueue | None:
        """The queue with that identity (the hash of everything that it was made from), or None."""
        return cls._one(database, t.review_queues.c.identity == identity)

    @classmethod
    def latest(cls, database: Database) -> ReviewQueue | None:
        """The queue that was opened last, or None."""
        with database.begin() as conn:
            top = conn.execute(
                sa.select(t.review_queues.c.number).order_by(t.review_queues.c.opened.desc(), t.review_queues.c.number.desc()).limit(1)
            ).scalar()
        return None if top is None else cls._one(database, t.review_queues.c.number == top)

    @classmethod
    def _one(cls, database: Database, which: Any) -> ReviewQueue | None:
        with database.begin() as conn:
            row = conn.execute(t.review_queues.select().where(which)).mappings().first()
            if row is None:
                return None
            conn.execute(t.review_queues.update().where(t.review_queues.c.number == row["number"]).values(opened=now()))
            return cls(database, row["number"], row["name"], json.loads(row["body"]))

    @classmethod
    def create(
        cls, database: Database, identity: str, name: str, body: dict[str, Any], items: Sequence[tuple[str, dict[str, Any]]]
    ) -> ReviewQueue:
        """Make a queue of (place, body) items, in their order, in one transaction; the same identity again is the same queue."""
        with database.begin() as conn:
            if conn.execute(sa.select(t.review_queues.c.number).where(t.review_queues.c.identity == identity)).first() is None:
                values = {"name": name, "identity": identity, "body": json.dumps(body), "created": now(), "opened": now()}
                conn.execute(t.review_queues.insert().values(**values))
                number = conn.execute(sa.select(t.review_queues.c.number).where(t.review_queues.c.identity == identity)).scalar_one()
                rows = [{"queue": number, "position": i, "place": at, "body": json.dumps(b)} for i, (at, b) in enumerate(items)]
                if rows:
                    conn.execute(t.review_items.insert(), rows)
        found = cls.find(database, identity)
        assert found is not None
        return found

    def items(self) -> list[ReviewItem]:
        """Every item in the order of the queue."""
        with self.database.begin() as conn:
            wanted = t.review_items.select().where(t.review_items.c.queue == self.number).order_by(t.review_items.c.position)
            rows = conn.execute(wanted).mappings()
            return [ReviewItem(r["id"], r["position"], r["place"], json.loads(r["body"])) for r in rows]

    def decide(self, item: int, reviewer: str, action: Action, body: dict[str, Any] | None = None, created: str = "") -> None:
        """Add a reviewer's decision about an item of this queue; it takes the place of the one before. `created`: when, if not now."""
        if action not in ACTIONS:
            raise UserError("a known action is wanted", repr(action), fix=did_you_mean(str(action), ACTIONS))
        if not reviewer.strip():
            raise UserError("a reviewer must have a name", repr(reviewer), "--reviewer")
        values = {"item": item, "reviewer": reviewer, "action": action, "body": json.dumps(body or {}), "created": created or now()}
        with self.database.begin() as conn:
            self._owned(conn, item)
            conn.execute(t.review_decisions.insert().values(**values))

    def undo(self, reviewer: str) -> Decision | None:
        """Take back the reviewer's last decision that stands, and return it; None when there is none."""
        with self.database.begin() as conn:
            mine = self._standing().where(t.review_decisions.c.reviewer == reviewer).order_by(t.review_decisions.c.id.desc()).limit(1)
            row = conn.execute(mine).mappings().first()
            if row is None:
                return None
            conn.execute(t.review_decisions.update().where(t.review_decisions.c.id == row["id"]).values(undone=now()))
            return _decision(row)

    def decisions(self) -> list[Decision]:
        """Every reviewer's standing decision about each item (the last that was not undone), in the order in which they were made."""
        with self.database.begin() as conn:
            rows = conn.execute(self._standing().order_by(t.review_decisions.c.id)).mappings().all()
        return sorted({(r["item"], r["reviewer"]): _decision(r) for r in rows}.values(), key=lambda d: d.id)

    def _standing(self) -> sa.Select[Any]:
        joined = t.review_decisions.join(t.review_items, t.review_items.c.id == t.review_decisions.c.item)
        wanted = sa.select(t.review_decisions).select_from(joined)
        return wanted.where(t.review_items.c.queue == self.number, t.review_decisions.c.undone.is_(None))

    def _owned(self, conn: Connection, item: int) -> None:
        of = conn.execute(sa.select(t.review_items.c.queue).where(t.review_items.c.id == item)).scalar()
        assert of == self.number, f"item {item} is of queue {of}, not {self.number}"


def _decision(row: RowMapping) -> Decision:
    return Decision(row["id"], row["item"], row["reviewer"], row["action"], json.loads(row["body"]), row["created"])
