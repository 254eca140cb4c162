"""The benchmark of dirty rows: what is planted, and the whole file from rows to its plot with a toy encoder."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from luthier.core.records import Example, Message, Source
from luthier.stages.data.cleaning import CleanPlan, clean_record
from toy_encoders import make_toy_encoder

ROWS = [
    {"text": f"I can't find card {i} of my {word} account", "label": word, "planted": ""}
    for i in range(20)
    for word in ("old", "new", "joint", "second", "third")
]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch, repo: Path) -> None:
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))


def test_what_is_planted_is_what_is_said() -> None:
    from data_noise import NOISE, leak

    labels = {row["text"]: row["label"] for row in ROWS}
    flipped = NOISE["label flips"](ROWS, random.Random(1))
    assert [row["text"] for row in flipped] == [row["text"] for row in ROWS]
    assert [row["planted"] == "flip" for row in flipped] == [row["label"] != labels[row["text"]] for row in flipped]
    assert Counter(row["planted"] for row in flipped) == {"flip": 20, "": 80}
    copied = NOISE["duplicates"](ROWS, random.Random(1))
    assert Counter(row["planted"] for row in copied) == {"copy": 90, "": 100}
    assert {row["text"].lower().removesuffix("thanks").removesuffix("please").rstrip(" .!") for row in copied} == {
        t.lower() for t in labels
    }
    planted = leak(ROWS, [{**row, "text": row["text"] + " now"} for row in ROWS], random.Random(1))
    assert Counter(row["planted"] for row in planted) == {"leak": 25, "": 100}
    assert all(row["text"].endswith("now") == (row["planted"] == "leak") for row in planted)
    assert NOISE["none"](ROWS, random.Random(1)) == ROWS
    assert {kind for row in NOISE["all together"](ROWS, random.Random(1)) for kind in row["planted"].split()} == {"flip", "copy", "damage"}


def test_the_standard_repairs_mend_the_damage() -> None:
    from data_noise import NOISE

    damaged = NOISE["encoding damage"](ROWS, random.Random(1))
    assert sum(row["planted"] == "damage" for row in damaged) == 50
    for row, before in zip(damaged, ROWS, strict=True):
        assert (row["text"] != before["text"]) == (row["planted"] == "damage")
        example = Example((Message("user", row["text"]), Message("assistant", "x")), Source("f", "line 1"), label="x")
        mended = clean_record(example, CleanPlan()).record.messages[0].content  # type: ignore[union-attr]
        assert mended.replace("\u2019", "'") == before["text"]


def test_the_whole_file_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    import data_matters

    monkeypatch.setattr(data_matters, "NOISE", {"none": data_matters.NOISE["all together"]})
    base = make_toy_encoder(tmp_path / "toy-encoder")
    command = ["data_matters.py", "--quick", "--data", str(shared_data), "--base", str(base), "--threads", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    assert data_matters.main() == 0
    (path,) = tmp_path.glob("*-data-matters-quick.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert list(found["arms"]) == ["none, as it is", "none, cleaned", "leak, check off", "leak, check on"]
    assert all(arm["accuracy"]["rows"] == len(arm["right"]) == 20 for arm in found["arms"].values())
    cleaned = found["arms"]["none, cleaned"]
    assert cleaned["planted"]["before"]["copy"] > cleaned["planted"]["after"].get("copy", 0)
    assert cleaned["trained_rows"] <= cleaned["planted"]["after"]["rows"]
    on, off = (found["arms"][name] for name in ("leak, check on", "leak, check off"))
    assert "repeat" in on["blocked"]
    assert off["trained_rows"] - on["trained_rows"] >= 5  # a quarter of the sealed rows
    assert len(off["leaked"]) == 5
    assert {part: row["num_rows"] for part, row in found["leakage"].items()} == {"all": 20, "planted": 5, "others": 15}
    assert path.with_suffix(".svg").read_text(encoding="utf-8").startswith("<svg")
    for name in ("measured", "plot"):  # nothing is measured again
        monkeypatch.setattr(data_matters, name, lambda *given: None)
    assert data_matters.main() == 0
    assert json.loads(path.read_text(encoding="utf-8")) == found


def test_what_noise_costs_and_what_cleaning_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import data_matters

    def arm(right: int) -> dict[str, Any]:
        share = {"value": right / 100, "low": 0.0, "high": 1.0}
        return {"right": {f"{i:02}": int(i < right) for i in range(100)}, "accuracy": share, "leaked": ["00", "99"]}

    monkeypatch.setattr(data_matters, "NOISE", dict.fromkeys(("none", "label flips")))
    arms = {"none, as it is": arm(90), "none, cleaned": arm(89), "label flips, as it is": arm(70), "label flips, cleaned": arm(85)}
    arms |= {"leak, check off": arm(95), "leak, check on": arm(90)}
    none, flips = data_matters.comparisons(arms)
    assert "cost" not in none
    assert (none["gain"]["decision"], flips["cost"]["decision"], flips["gain"]["decision"]) == ("not proven", "worse", "better")
    assert [round(row["effect"], 2) for row in (none["gain"], flips["cost"], flips["gain"])] == [-0.01, -0.2, 0.15]
    leaks = data_matters.leakage(arms)
    assert (leaks["planted"]["num_rows"], leaks["others"]["effect"]) == (2, pytest.approx(5 / 98))
    page = data_matters.table({"arms": arms, "comparisons": [none, flips], "leakage": leaks})
    assert "| label flips | 70.0 % (0.0 to 100.0) | 85.0 % (0.0 to 100.0) | -20.0 (" in page
    assert "| all (100) | 90.0 % | 95.0 % | +5.0 (" in page
