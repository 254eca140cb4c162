"""The share of one contributor."""

from __future__ import annotations

from luthier.core.records import Record, Source, Text
from luthier.parts.checks.contributor_share import ContributorShare


def rows(*names: str | None) -> list[Record]:
    return [Text(f"t{i}", Source("f", f"row {i}"), meta={} if n is None else {"user": n}, group=n) for i, n in enumerate(names)]


def test_rows_beyond_the_share_are_named_and_the_contributor_is_not() -> None:
    data = rows(*["anna"] * 30, *["ben"] * 5, *[f"u{i}" for i in range(65)])
    found = ContributorShare(column="user", max_share=0.1, min_rows=2)(data)
    assert [f.row for f in found] == list(range(10, 30))
    assert all("30 of 100 rows (30.0%); 10 are allowed" in f.reason and "anna" not in f.reason and f.score == 0.3 for f in found)
    assert [f.row for f in ContributorShare(max_share=0.1, min_rows=2)(data)] == list(range(10, 30))


def test_rows_without_a_contributor_and_small_sets_are_left_alone() -> None:
    assert not ContributorShare(column="user", max_share=0.1, min_rows=1)(rows(*[None] * 50))
    assert not ContributorShare(column="user", max_share=0.01)(rows(*["anna"] * 50))
    assert not ContributorShare()([])
