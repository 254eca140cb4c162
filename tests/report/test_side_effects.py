"""Forgetting and memorisation in words: three verdicts each, judged on interval ends."""

from __future__ import annotations

import pytest

from luthier.report.sections import Estimate
from luthier.report.side_effect_words import forgetting, memorisation
from luthier.report.side_effects import CanaryExposure, Membership

SETTINGS = {"learning_rate": 2e-4, "epochs": 4.0, "method.rank": 16, "regularisation.dropout": 0.0}


def estimate(low: float, value: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=86)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (estimate(0.3, 0.4, 0.5), "forgotten"),
        (estimate(0.02, 0.1, 0.2), "not proven"),
        (estimate(-0.3, 0.0, 0.3), "not proven"),
        (estimate(-0.01, 0.01, 0.03), "none"),
        (estimate(-0.5, -0.4, -0.3), "none"),
    ],
)
def test_forgetting_is_judged_on_the_ends_of_its_interval(change: Estimate, finding: str) -> None:
    said = forgetting((estimate(9, 10, 11), estimate(14, 15, 16), change), 0.05, (), SETTINGS)
    assert said.finding == finding
    assert "86 general questions" in said.text
    assert "margin is 0.05" in said.text
    lines = [r.line for r in said.remedies]
    assert lines == ([] if finding == "none" else ["train.learning_rate: 0.0001", "train.epochs: 2", "", "train.method.rank: 8"])


def member(low: float, value: float, high: float) -> Membership:
    return Membership(num_train=43, num_unseen=43, calibrated=True, auc=estimate(low, value, high))


def canaries(low: float, value: float, high: float, p: float, repeats: int = 1) -> CanaryExposure:
    return CanaryExposure(repeats=repeats, num_canaries=20, exposure=estimate(low, value, high), chance=1.43, most=8.0, p=p)


CHANCE, LEARNED, UNCLEAR = canaries(0.9, 1.4, 2.0, 0.4), canaries(7, 7.5, 8, 1e-20, 20), canaries(1.0, 2.5, 4.0, 0.02, 5)


@pytest.mark.parametrize(
    ("rows", "planted", "finding"),
    [
        (member(0.7, 0.8, 0.9), (), "memorised"),
        (member(0.45, 0.5, 0.55), (), "none"),
        (member(0.45, 0.6, 0.75), (), "not proven"),
        (member(0.45, 0.5, 0.55), (CHANCE,), "none"),
        (member(0.45, 0.5, 0.55), (CHANCE, LEARNED), "memorised"),
        (member(0.45, 0.5, 0.55), (CHANCE, UNCLEAR), "not proven"),
        (member(0.7, 0.8, 0.9), (CHANCE,), "memorised"),
    ],
)
def test_memorisation_is_the_worst_of_rows_and_canaries(rows: Membership, planted: tuple[CanaryExposure, ...], finding: str) -> None:
    said = memorisation(rows, planted, SETTINGS)
    assert said.finding == finding
    assert "50% is chance" in said.text
    assert len(said.evidence) == 1 + len(planted)
    assert bool(said.remedies) == (finding != "none")
    if LEARNED in planted:
        assert "seen 20 times an epoch have an exposure of 7.500 (7.000 to 8.000) bits" in said.text.replace("7.50 (7.00", "7.500 (7.000")
