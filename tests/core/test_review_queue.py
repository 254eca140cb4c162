"""The review queue in the database: order, decisions that stand, undo that forgets nothing, several reviewers at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import sqlalchemy as sa

from luthier.core.database import Database
from luthier.core.database import tables as t
from luthier.core.database.review import ReviewQueue
from luthier.core.errors import UserError

ITEMS = [(f"row {i}", {"fields": {"text": f"t{i}"}, "label": None, "findings": []}) for i in (7, 3, 5)]


def made(folder: Path, identity: str = "one") -> ReviewQueue:
    return ReviewQueue.create(Database.in_folder(folder), identity, "rows.csv", {"path": "rows.csv"}, ITEMS)


def told(queue: ReviewQueue) -> list[tuple[str, str, str]]:
    place = {item.id: item.place for item in queue.items()}
    return [(place[d.item], d.reviewer, d.action) for d in queue.decisions()]


def test_a_queue_keeps_its_order_and_is_made_once(tmp_path: Path) -> None:
    queue = made(tmp_path)
    assert [(i.position, i.place) for i in queue.items()] == [(0, "row 7"), (1, "row 3"), (2, "row 5")]
    again = made(tmp_path)
    assert (again.number, len(again.items())) == (queue.number, 3)
    other = made(tmp_path, "two")
    assert other.number != queue.number
    assert ReviewQueue.find(queue.database, "three") is None
    latest = ReviewQueue.latest(queue.database)
    assert latest is not None
    assert latest.number == other.number


def test_the_last_decision_stands_and_undo_brings_back_the_one_before(tmp_path: Path) -> None:
    queue = made(tmp_path)
    first, second, _ = queue.items()
    queue.decide(first.id, "anna", "accept")
    queue.decide(second.id, "anna", "skip")
    queue.decide(first.id, "ben", "reject")
    queue.decide(first.id, "anna", "relabel", {"label": "x"})
    assert told(queue) == [("row 3", "anna", "skip"), ("row 7", "ben", "reject"), ("row 7", "anna", "relabel")]
    taken = queue.undo("anna")
    assert taken is not None
    assert (taken.action, taken.body) == ("relabel", {"label": "x"})
    assert told(queue) == [("row 7", "anna", "accept"), ("row 3", "anna", "skip"), ("row 7", "ben", "reject")]
    assert [queue.undo("anna") is None for _ in range(3)] == [False, False, True]
    assert told(queue) == [("row 7", "ben", "reject")]
    with queue.database.begin() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(t.review_decisions)).scalar() == 4


def test_what_is_no_decision_is_refused(tmp_path: Path) -> None:
    queue = made(tmp_path)
    item = queue.items()[0].id
    with pytest.raises(UserError, match="did you mean `accept`"):
        queue.decide(item, "anna", "acept")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="name"):
        queue.decide(item, " ", "accept")
    with pytest.raises(AssertionError):
        made(tmp_path, "two").decide(item, "anna", "accept")


def test_reviewers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    queue = made(tmp_path)
    code = """
        import sys
        from pathlib import Path
        from luthier.core.database import Database
        from luthier.core.database.review import ReviewQueue
        queue = ReviewQueue.find(Database.in_folder(Path(sys.argv[1])), "one")
        for n in range(4):
            for item in queue.items():
                queue.decide(item.id, sys.argv[2], "accept" if n % 2 else "reject")
    """
    names = ("anna", "ben", "carl")
    running = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path), name]) for name in names]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    with queue.database.begin() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(t.review_decisions)).scalar() == 36
    assert sorted(told(queue)) == sorted((place, name, "accept") for place, _ in ITEMS for name in names)
