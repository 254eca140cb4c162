"""What is recommended, and the words for what is outside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from luthier.core.config import parse_config
from luthier.stages.train import ranges
from luthier.stages.train.recipe import Recipe


def words(**settings: object) -> list[str]:
    return list(ranges.warnings(parse_config(Recipe, settings)))


def test_the_defaults_are_recommended() -> None:
    assert words() == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"learning_rate": 1.0},
            r"learning_rate 1 is 500 times the largest recommended for lora \(5e-05 to 0.002\): .* very likely diverge",
        ),
        ({"learning_rate": 3e-3}, r"1.5 times the largest recommended .* may diverge"),
        ({"learning_rate": 1e-6}, r"below the usual range for lora .* may learn little"),
        ({"learning_rate": 1e-3, "optimizer": {"kind": "lion"}}, r"1.5 times the largest recommended for lora \(5e-06 to 0.000666667\)"),
        ({"method": {"kind": "lora", "rank": 1}}, r"train.method.rank 1 is outside the usual range \(4 to 256\): few directions"),
        ({"method": {"kind": "lora", "rank": 512}}, r"rank 512 .*: more memory and time"),
        ({"method": {"kind": "lora", "rank": 8, "alpha": 256}}, r"alpha / rank = 256 / 8 = 32 is outside .* drown the base"),
        ({"method": {"kind": "lora", "rank": 64, "alpha": 1}}, r"hardly felt"),
        ({"batch_size": 1}, r"train.batch_size 1 .*: noisy steps"),
        ({"batch_size": 512}, r"few steps an epoch"),
    ],
)
def test_each_setting_outside_is_said_once(settings: dict[str, object], said: str) -> None:
    found = words(**settings)
    assert len(found) == 1
    assert re.search(said, found[0]), found[0]


def test_what_has_no_recommendation_gets_no_warning() -> None:
    assert words(learning_rate=1.0, optimizer={"kind": "sgd"}) == []
    assert words(method={"kind": "lora", "rank": 16, "alpha": 1, "rslora": True}) == []
    assert words(learning_rate=1e-4, optimizer={"kind": "lion"}) == []


def test_remedies_know_the_highest_usual_rate() -> None:
    assert ranges.settings_of(Recipe())["usual_rate"] == 2e-3
    assert "usual_rate" not in ranges.settings_of(parse_config(Recipe, {"optimizer": {"kind": "sgd"}}))


def test_every_range_has_a_source_and_goes_upwards() -> None:
    every = [*ranges.RATES.values(), ranges.RANK, ranges.ALPHA_PER_RANK, ranges.BATCH, *ranges.OF_ADAM.values()]
    for one in every:
        assert one.low < one.high
        assert re.search(r"arXiv:\d{4}\.\d{5}", one.source), one


def test_the_documentation_shows_this_table(repo: Path) -> None:
    page = (repo / "docs" / "training.md").read_text(encoding="utf-8")
    for kind, one in ranges.RATES.items():
        assert f"| `{kind}`: learning rate | {one} | {one.source} |" in page
    for name, one in (("rank", ranges.RANK), ("alpha / rank", ranges.ALPHA_PER_RANK), ("batch size", ranges.BATCH)):
        assert f"| {name} | {one} | {one.source} |" in page
