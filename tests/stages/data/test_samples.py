"""The first rows as a mapping reads them stand beside the mapping."""

from __future__ import annotations

from pathlib import Path

from luthier.core.records import Message, Preference, Rating, Source, Text
from luthier.stages.data.check_rows import check_rows
from luthier.stages.data.samples import LONGEST, as_read

AT = Source("rows.csv", "line 2")


def test_three_rows_under_the_proposed_mapping(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"question {i} of many,{'yes' if i % 2 else 'no'}\n" for i in range(20)), encoding="utf-8")
    found = check_rows(path)
    assert found.samples == tuple(f"row {i + 1}: user: question {i} of many | assistant: {'yes' if i % 2 else 'no'}" for i in range(3))
    lines = found.lines("rows.csv")
    assert [line.startswith("  read as: row ") for line in lines[2:5]] == [True] * 3


def test_every_kind_of_row_and_what_cannot_be_printed() -> None:
    asked, good, bad = Message("user", "why\x1b[31m?\n"), Message("assistant", "so"), Message("assistant", "x" * (LONGEST + 1))
    preference = Preference((asked,), (good,), (bad,), AT)
    shown = as_read(preference, "line 2")
    assert shown.startswith("line 2: user: why\\x1b[31m?\\n | chosen: so | rejected: xxx")
    assert shown.endswith("x\N{HORIZONTAL ELLIPSIS}")
    assert as_read(Rating((asked,), (good,), False, AT), "row 1").endswith(" | bad: so")
    assert as_read(Text("a text", AT), "row 1") == "row 1: text: a text"
