"""Reading many rows takes no more memory than reading few: what is kept of each row goes to disk, and says the same from there."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.parts.checks.contract import CorpusCheck, RowFacts
from luthier.parts.checks.discover import standing_checks
from luthier.parts.checks.facts import FactStore, repeated
from luthier.stages.data.seen import Seen

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "reliability"))
from stream import stream


def some_facts(number: int, seed: int) -> list[RowFacts]:
    """Rows that repeat one another's id, text and label in every way."""
    rng = random.Random(seed)
    out = []
    for i in range(number):
        prompt = b"%d" % rng.randrange(number)
        label = rng.choice(["happy", "Happy", "hapyp", "sad", None])
        given = rng.choice([None, "a", f"id {rng.randrange(number)}"])
        out.append(RowFacts(f"line {i + 1}", given, prompt + (label or "").encode(), prompt, label, label))
    return out


def stored(rows: list[RowFacts], in_memory: int) -> FactStore:
    store = FactStore(in_memory)
    for row in rows:
        store.append(row)
    return store


@pytest.mark.parametrize("in_memory", [1, 7, 300, 10_000])
@pytest.mark.parametrize("number", [0, 1, 300, 5000])
def test_facts_on_disk_are_those_in_memory(number: int, in_memory: int) -> None:
    rows = some_facts(number, seed=number)
    store = stored(rows, in_memory)
    assert len(store) == number
    assert list(store) == rows
    for name in ("content", "prompt", "given_id", "label"):
        assert list(store.repeated(name)) == list(repeated(rows, name))
    if rows:
        assert store[0] == rows[0]
        assert store[-1] == rows[-1]
        assert store[1:3] == rows[1:3]
    store.append(RowFacts("later", None, b"", b"", None))
    assert len(store) == number + 1


@pytest.mark.parametrize("check", standing_checks(CorpusCheck).values(), ids=lambda c: type(c).__name__)
def test_every_check_of_all_rows_says_the_same_of_both(check: CorpusCheck) -> None:
    rows = [*some_facts(800, seed=3), RowFacts("line 801", None, b"x", b"x", "on one row alone", "on one row alone")]
    assert check(rows)
    assert check(stored(rows, 50)) == check(rows)


def test_ids_are_counted_alike_in_memory_and_on_disk() -> None:
    rng = random.Random(5)
    ids = [f"{rng.randrange(400) * 0x0123_4567_89AB_CDEF % (1 << 64):016x}" for _ in range(3000)] + ["0" * 16, "f" * 16, "f" * 16]
    counted: dict[str, int] = {}
    few, many = Seen(10), Seen()
    for record_id in ids:
        counted[record_id] = counted.get(record_id, 0) + 1
        assert few.number(record_id) == many.number(record_id) == counted[record_id]


def peak_mb(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def test_the_memory_of_facts_and_ids_does_not_grow_with_the_rows() -> None:
    def facts(number: int, in_memory: int) -> Callable[[], object]:
        rows = (RowFacts(f"line {i}", f"id {i}", b"%16d" % i, b"%16d" % i, "x") for i in range(number))

        def work() -> None:
            store = FactStore(in_memory)
            for row in rows:
                store.append(row)
            assert list(store.repeated("content")) == []
            assert sum(1 for _ in store) == number

        return work

    def ids(number: int, in_memory: int) -> Callable[[], object]:
        return lambda: [None for seen in [Seen(in_memory)] for i in range(number) if seen.number(f"{i * 0x1234567:016x}") != 1]

    for make, small, large in ((facts, 3, 8), (ids, 1, 1.5)):
        assert peak_mb(make(30_000, 1000)) < small
        assert peak_mb(make(30_000, 100_000)) > large, "the bound would not notice rows that are held"


def test_a_file_is_read_to_its_end_in_bounded_memory() -> None:
    """A small sample of `reliability/run.py stream`, which reads 300 MB."""
    got = stream(3, seed=1, readings=("run",))
    assert got["failures"] == []
    assert [t["kept"] > 300 for t in got["readings"]] == [True, True]
