"""report.json is a published contract: it round-trips, refuses what it does not know, and its schema is pinned."""

from __future__ import annotations

import json
from pathlib import Path

import pydantic
import pytest

from luthier.core.artifacts import Verdict as VerdictArtifact
from luthier.report.model import RunReport, Verdict
from luthier.report.sections import Confusion, CurvePoint, Estimate

SCHEMA = Path(__file__).with_name("run_report.schema.json")
CONTRACT = {
    "decision", "metric", "baseline", "tuned", "effect", "interval", "p", "test", "num_rows", "minimum_detectable_effect", "looks",
}  # fmt: skip


def test_json_round_trip(rich: RunReport, minimal: RunReport) -> None:
    for report in (rich, minimal):
        assert RunReport.model_validate_json(report.model_dump_json()) == report


def test_top_level_of_the_document(rich: RunReport) -> None:
    document = json.loads(rich.model_dump_json())
    assert (document["kind"], document["version"]) == ("run_report", 1)
    assert set(document["verdict"]) == CONTRACT | {"alpha", "sentence"}
    assert len(document["verdict"]["interval"]) == 2


def test_schema_is_the_published_one() -> None:
    assert RunReport.model_json_schema() == json.loads(SCHEMA.read_text(encoding="utf-8")), (
        "the schema of report.json changed: if that is wanted, and old files still load, write the new schema to " + SCHEMA.name
    )


def test_the_stage_artifact_is_a_verdict(rich: RunReport) -> None:
    """The verdict stage's result becomes the report's verdict; `looks` is known only when the report is made."""
    artifact = VerdictArtifact(**{k: v for k, v in rich.verdict.model_dump().items() if k in VerdictArtifact.model_fields})
    assert Verdict(**{"looks": 1, **artifact.model_dump()}) == rich.verdict


def test_no_unknown_fields_and_frozen(minimal: RunReport) -> None:
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        RunReport.model_validate({**minimal.model_dump(), "extra": 1})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        minimal.kind = "other"  # pyright: ignore


def test_decision_is_one_of_three(minimal: RunReport) -> None:
    with pytest.raises(pydantic.ValidationError, match="decision"):
        Verdict.model_validate({**minimal.verdict.model_dump(), "decision": "great"})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_nan_or_infinity(bad: float, minimal: RunReport) -> None:
    with pytest.raises(pydantic.ValidationError):
        Estimate(value=bad, low=0, high=1, n=3)
    with pytest.raises(pydantic.ValidationError):
        Verdict.model_validate({**minimal.verdict.model_dump(), "effect": bad})
    assert CurvePoint(step=1, split="train", name="loss", value=None).value is None


def test_intervals_are_ordered(minimal: RunReport) -> None:
    with pytest.raises(pydantic.ValidationError, match="low <= high"):
        Estimate(value=0.5, low=0.7, high=0.6, n=10)
    with pytest.raises(pydantic.ValidationError, match="interval"):
        Verdict.model_validate({**minimal.verdict.model_dump(), "interval": (0.2, 0.1)})


def test_confusion_is_square() -> None:
    with pytest.raises(pydantic.ValidationError, match="2 x 2"):
        Confusion(labels=("a", "b"), counts=((1, 2, 3), (4, 5, 6)))


def test_figures_of_the_fixture_agree(rich: RunReport) -> None:
    pairs, confusion = rich.evaluation.pairs, rich.evaluation.confusion
    assert pairs is not None
    assert confusion is not None
    assert pairs.both_right + pairs.gained + pairs.lost + pairs.both_wrong == rich.verdict.num_rows == 240
    assert sum(confusion.counts[i][i] for i in range(12)) / 240 == pytest.approx(rich.verdict.tuned)
    for before, after in zip(rich.data.ledger, rich.data.ledger[1:], strict=False):
        assert before.kept + before.changed == after.reached
