"""The diagnosis on curves whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from luthier.report.diagnose import MIN_TRAIN_POINTS, diagnose
from luthier.report.sections import CurvePoint

Curve = Callable[[float], float]
SETTINGS = {"epochs": 3, "learning_rate": 2e-4, "method.rank": 16, "weight_decay": 0.0}


def points(train: Curve, held: Curve | None, steps: int = 100, every: int = 10, noise: float = 0.02, seed: int = 0) -> list[CurvePoint]:
    """`train` each step and `held` each `every` steps, as functions of the share of the run done."""
    rng, found = random.Random(seed), []
    for step in range(1, steps + 1):
        found.append(CurvePoint(step=step, split="train", name="loss", value=train(step / steps) * (1 + rng.gauss(0, 4 * noise))))
        if held is not None and step % every == 0:
            found.append(CurvePoint(step=step, split="validation", name="loss", value=held(step / steps) * (1 + rng.gauss(0, noise / 10))))
    return found


def falling(floor: float, speed: float) -> Curve:
    """From floor + 2 towards floor."""
    return lambda t: floor + 2 * math.exp(-speed * t)


@pytest.mark.parametrize("seed", range(5))
def test_healthy(seed: int) -> None:
    said = diagnose(points(falling(0.3, 8), falling(0.45, 8), seed=seed), SETTINGS)
    assert said.finding == "healthy"
    assert said.remedies == ()
    assert len(said.evidence) == 2


@pytest.mark.parametrize("seed", range(5))
def test_overfitting_names_the_step_and_the_settings(seed: int) -> None:
    held = lambda t: 0.5 + 2 * math.exp(-10 * t) + 0.8 * max(0.0, t - 0.4)  # noqa: E731
    said = diagnose(points(falling(0.05, 5), held, seed=seed), SETTINGS)
    assert said.finding == "overfitting"
    assert "step 40" in said.text or "step 50" in said.text
    assert any("rose from" in e for e in said.evidence)
    advice = {r.setting: r.advice for r in said.remedies}
    assert set(advice) == {"epochs", "data", "method.rank", "weight_decay"}
    assert "it was 3" in advice["epochs"]
    assert "it was 16" in advice["method.rank"]


def test_overfitting_loss_with_a_metric_that_held() -> None:
    held = lambda t: 0.5 + 2 * math.exp(-10 * t) + 0.8 * max(0.0, t - 0.4)  # noqa: E731
    curves = points(falling(0.05, 5), held)
    for step in range(10, 101, 10):
        curves.append(CurvePoint(step=step, split="validation", name="accuracy", value=0.5 + 0.4 * (1 - math.exp(-step / 15))))
    said = diagnose(curves)
    assert said.finding == "overfitting"
    assert "too sure" in said.text
    assert any("accuracy did not fall" in e for e in said.evidence)


def test_one_bad_evaluation_at_the_end_is_noise() -> None:
    curves = points(falling(0.3, 8), falling(0.45, 8))
    curves[-1] = curves[-1].model_copy(update={"value": 0.6})
    assert diagnose(curves).finding == "healthy"


@pytest.mark.parametrize("seed", range(5))
def test_underfitting_still_falling(seed: int) -> None:
    said = diagnose(points(falling(0.1, 1.2), falling(0.15, 1.2), seed=seed), SETTINGS)
    assert said.finding == "underfitting"
    assert "too early" in said.text
    assert {r.setting for r in said.remedies} == {"epochs", "learning_rate"}


def test_a_rate_is_raised_no_further_than_is_usual() -> None:
    curves = points(falling(0.1, 1.2), falling(0.15, 1.2))

    def lines(**more: float) -> dict[str, str]:
        return {r.setting: r.line for r in diagnose(curves, {**SETTINGS, **more}).remedies}

    assert lines()["learning_rate"] == "train.learning_rate: 0.0004"
    assert lines(usual_rate=3e-4)["learning_rate"] == "train.learning_rate: 0.0003"
    assert set(lines(usual_rate=1e-4)) == set(lines(learning_rate=1.0)) == {"epochs"}


def test_underfitting_nothing_learned() -> None:
    said = diagnose(points(lambda t: 2.0 - 0.01 * t, lambda t: 2.1 - 0.01 * t, noise=0.001), SETTINGS)
    assert said.finding == "underfitting"
    assert "hardly moved" in said.text
    assert {r.setting for r in said.remedies} == {"learning_rate", "method.rank", "data"}


@pytest.mark.parametrize("seed", range(5))
def test_diverged_by_blowing_up(seed: int) -> None:
    said = diagnose(points(lambda t: 2 - t if t < 0.5 else 1.5 + 8 * (t - 0.5), falling(1, 3), seed=seed), SETTINGS)
    assert said.finding == "diverged"
    assert "it was 0.0002" in {r.setting: r.advice for r in said.remedies}["learning_rate"]


def test_diverged_by_a_number_that_is_not_finite() -> None:
    curves = [*points(falling(0.3, 8), falling(0.45, 8)), CurvePoint(step=101, split="train", name="loss", value=None)]
    said = diagnose(curves)
    assert said.finding == "diverged"
    assert "step 101" in said.evidence[0]


def test_a_spike_that_heals_is_not_divergence() -> None:
    curves = points(falling(0.3, 8), falling(0.45, 8))
    spiked = [p.model_copy(update={"value": 6.0}) if p.split == "train" and p.step == 55 else p for p in curves]
    assert diagnose(spiked).finding == "healthy"


def test_too_short_to_say() -> None:
    short = points(falling(0.3, 8), falling(0.4, 8), steps=MIN_TRAIN_POINTS - 1, every=2)
    assert diagnose(short).finding == "too short to say"
    assert diagnose([]).finding == "too short to say"
    no_validation = diagnose(points(falling(0.3, 8), None))
    assert no_validation.finding == "too short to say"
    assert "No validation loss" in no_validation.text


def test_order_of_the_points_does_not_matter() -> None:
    curves = points(falling(0.05, 5), falling(0.45, 8))
    shuffled = list(curves)
    random.Random(1).shuffle(shuffled)
    assert diagnose(shuffled, SETTINGS) == diagnose(curves, SETTINGS)


def test_curves_are_left_as_they_were() -> None:
    curves = points(falling(0.3, 8), falling(0.45, 8))
    before = list(curves)
    diagnose(curves, SETTINGS)
    assert curves == before
