"""Rows that teach nothing more, loss spikes, and what is said while training goes on: curves whose truth is known."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from test_diagnose import Curve, falling, points

from luthier.core.config import apply_overrides
from luthier.report.curves import read_curves, series, step_noise, window
from luthier.report.diagnose import diagnose
from luthier.report.further import further
from luthier.report.live import holding, sentence
from luthier.report.sections import CurvePoint

SETTINGS = {"epochs": 4.0, "learning_rate": 2e-4, "method.rank": 16, "optimizer.clip_norm": 1.0, "batch_size": 8}
PER_EPOCH = 25


def found(curves: list[CurvePoint]) -> dict[str, str]:
    main = diagnose(curves, SETTINGS, PER_EPOCH)
    return {d.finding: d.text for d in (main, *further(curves, main, SETTINGS, PER_EPOCH))}


def with_start(curves: list[CurvePoint], value: float) -> list[CurvePoint]:
    """The curves with the validation loss before the first step."""
    return [CurvePoint(step=0, split="validation", name="loss", value=value), *curves]


@pytest.mark.parametrize("seed", range(5))
def test_epochs_that_teach_nothing(seed: int) -> None:
    curves = with_start(points(falling(0.3, 30), falling(0.45, 30), noise=0.01, seed=seed), 2.45)
    said = found(curves)
    assert set(said) == {"healthy", "data exhausted"}
    [exhausted] = further(curves, diagnose(curves), SETTINGS, PER_EPOCH)
    assert exhausted.remedies[0].line in ("train.epochs: 0.4", "train.epochs: 0.8")
    assert "epoch" in exhausted.evidence[0]


def test_rows_that_still_teach_or_were_seen_once_are_not_exhausted() -> None:
    curves = with_start(points(falling(0.3, 30), falling(0.45, 30), noise=0.01), 2.45)
    main = diagnose(curves)
    assert further(curves, main, SETTINGS, steps_per_epoch=100) == ()
    assert further(curves, main, SETTINGS, steps_per_epoch=None) == ()
    assert set(found(with_start(points(falling(0.3, 8), falling(0.45, 8)), 2.45))) == {"healthy"}


def test_an_overfitting_run_is_not_called_exhausted_too() -> None:
    held = lambda t: 0.5 + 2 * math.exp(-10 * t) + 0.8 * max(0.0, t - 0.4)  # noqa: E731
    assert set(found(with_start(points(falling(0.05, 5), held), 2.5))) == {"overfitting"}


def test_a_loss_that_jumps_above_its_start_and_heals_is_a_spike() -> None:
    curves = with_start(points(falling(0.3, 8), falling(0.45, 8)), 2.45)
    spiked = [p.model_copy(update={"value": 6.0}) if (p.split, p.step) == ("train", 55) else p for p in curves]
    main = diagnose(spiked, SETTINGS)
    [spike] = further(spiked, main, SETTINGS, PER_EPOCH)
    assert (main.finding, spike.finding) == ("healthy", "loss spikes")
    assert "6.000 at step 55" in spike.evidence[0]
    assert [r.line for r in spike.remedies] == ["train.learning_rate: 0.0001", "train.optimizer.clip_norm: 0.3", "train.batch_size: 16", ""]
    low = [p.model_copy(update={"value": 2.0}) if (p.split, p.step) == ("train", 55) else p for p in curves]
    assert further(low, diagnose(low), SETTINGS, PER_EPOCH) == ()


def test_a_loss_that_gives_back_what_it_had_gained_has_diverged_even_below_its_start() -> None:
    up = lambda t: 2 - 1.8 * min(1.0, 3 * t) + 4 * max(0.0, t - 0.6)  # noqa: E731
    curves = points(up, falling(0.5, 3))
    assert window(series(curves, "train", "loss")).last < 2
    assert diagnose(curves, SETTINGS).finding == "diverged"


def test_a_run_that_ends_worse_than_it_began_has_diverged_whatever_its_minimum() -> None:
    bad = points(lambda t: 2.0 + 4 * min(1.0, 10 * t), lambda t: 6.5, noise=0.02)
    assert diagnose(with_start(bad, 2.3)).finding == "diverged"
    assert "before the first step" in diagnose(with_start(bad, 2.3)).evidence[0]


def test_noise_is_that_of_steps_and_not_of_the_trend() -> None:
    rng = random.Random(2)
    line = [5 - 0.01 * i + rng.gauss(0, 0.2) for i in range(400)]
    assert step_noise(line) == pytest.approx(0.2, rel=0.1)
    assert step_noise([1.0]) == 0.0


def test_every_line_is_a_line_of_the_project_file() -> None:
    over = points(falling(0.05, 5), lambda t: 0.5 + 2 * math.exp(-10 * t) + 0.8 * max(0.0, t - 0.4))
    settings = {**SETTINGS, "optimizer.weight_decay": 0.0, "regularisation.dropout": 0.0, "schedule.warmup_ratio": 0.0}
    lines = [r.line for r in diagnose(over, settings, PER_EPOCH).remedies if r.line]
    assert lines[0] in ("train.epochs: 1.6", "train.epochs: 2")
    assert lines[1:] == ["train.method.rank: 8", "train.optimizer.weight_decay: 0.1", "train.regularisation.dropout: 0.1"]
    for line in lines:
        name, value = line.split(": ")
        assert apply_overrides({}, [f"{name}={value}"])["train"]


def fine(rng: random.Random) -> list[CurvePoint]:
    """A run as it should be: it falls, settles with the end of the schedule, and is as noisy as small batches are."""
    if rng.random() < 0.5:
        speed, floor, gap = rng.uniform(7, 9), rng.uniform(0.4, 0.6), rng.uniform(0, 0.15)
        train, held = falling(floor, speed), falling(floor + gap, speed)
        start = floor + gap + 2
    else:
        level, slope = rng.uniform(0.8, 2.0), rng.uniform(0.08, 0.12)
        train = held = lambda t: level * (1 + slope * t**-0.5)
        start = 2.5 * level
    every = rng.choice((8, 10, 12, 16))
    return with_start(points(train, held, steps=96, every=every, noise=rng.uniform(0.01, 0.06), seed=rng.randrange(10**6)), start)


def said_live(curves: list[CurvePoint], steps: int) -> list[str]:
    """What is said at each evaluation of a run, in order."""
    said: list[str] = []
    for step in sorted({p.step for p in curves if p.split == "validation" and p.step}):
        said += [d.finding for d in holding([p for p in curves if p.step <= step], SETTINGS, 32, step / steps, said)]
    return said


def test_false_alarms_on_two_hundred_fine_runs() -> None:
    rng = random.Random(0)
    runs = [fine(rng) for _ in range(200)]
    alarmed = [s for curves in runs if (s := said_live(curves, 96))]
    assert len(alarmed) <= 10, alarmed


def planted(kind: str, rng: random.Random) -> list[CurvePoint]:
    """A run with one fault and the noise of a fine one."""
    turn, noise = rng.uniform(0.3, 0.5), rng.uniform(0.01, 0.06)
    shapes: dict[str, tuple[Curve, Curve]] = {
        "overfitting": (falling(0.05, 5), lambda t: 0.5 + 2 * math.exp(-10 * t) + 0.8 * max(0.0, t - turn)),
        "underfitting": (falling(0.1, 1.2), falling(0.15, 1.2)),
        "diverged": (lambda t: 2 - 3 * t if t < turn else 2 - 3 * turn + 9 * (t - turn), falling(1, 3)),
        "data exhausted": (falling(0.4, 30), falling(0.5, 30)),
    }
    train, held = shapes[kind]
    return with_start(points(train, held, steps=96, every=8, noise=noise, seed=rng.randrange(10**6)), 2.5)


@pytest.mark.parametrize("kind", ["overfitting", "underfitting", "diverged", "data exhausted"])
def test_planted_faults_are_found(kind: str) -> None:
    rng = random.Random(1)
    found = [said_live(planted(kind, rng), 96) for _ in range(50)]
    assert sum(kind in said for said in found) >= 48
    assert all(said.count(kind) <= 1 for said in found)


def test_while_training_goes_on_a_loss_that_still_falls_is_not_said() -> None:
    curves = with_start(points(falling(0.1, 1.2), falling(0.15, 1.2)), 2.15)
    assert holding(curves, SETTINGS, 25, 0.9) == []
    [at_end] = holding(curves, SETTINGS, 25, 1.0)
    assert sentence(at_end, 100).startswith("underfitting, seen at step 100: validation loss still fell")
    assert "`train.epochs: 8`" in sentence(at_end, 100)
    still = points(lambda t: 2.0, lambda t: 2.1, noise=0.001)
    assert holding(still, SETTINGS, 25, 0.4) == []
    assert [d.finding for d in holding(still, SETTINGS, 25, 0.6)] == ["underfitting"]


def test_curves_are_read_from_metrics_with_what_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_curves(path) == []
    rows = [(1, "train", "loss", 2.0), (1, "train", "gradient_norm", 3.0), (2, "validation", "loss", math.nan)]
    lines = [json.dumps(dict(zip(("step", "split", "name", "value"), row, strict=True))) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert [(p.step, p.value) for p in read_curves(path)] == [(1, 2.0), (2, None)]
