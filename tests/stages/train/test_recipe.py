"""The arithmetic of a recipe: rows of a step, steps of a run, where evaluations fall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.stages.train.loop import Objective, rows_of_run, rows_of_step
from luthier.stages.train.recipe import Recipe


@given(num_rows=st.integers(1, 200), batch=st.integers(1, 40), seed=st.integers(0, 1000), epoch=st.integers(0, 3))
def test_every_epoch_sees_each_row_once(num_rows: int, batch: int, seed: int, epoch: int) -> None:
    recipe = Recipe(batch_size=batch, seed=seed)
    per_epoch = recipe.steps_per_epoch(num_rows)
    steps = [rows_of_step(epoch * per_epoch + i, num_rows, recipe) for i in range(per_epoch)]
    assert sorted(np.concatenate(steps)) == list(range(num_rows))
    assert all(len(s) == batch for s in steps[:-1])
    assert 1 <= len(steps[-1]) <= batch


@given(num_rows=st.integers(1, 60), batch=st.integers(1, 40), epochs=st.floats(0.1, 4))
def test_the_forecast_sees_the_very_steps_of_the_run(num_rows: int, batch: int, epochs: float) -> None:
    recipe = Recipe(batch_size=batch, epochs=epochs)
    seen = [rows.tolist() for rows in rows_of_run(num_rows, recipe)]
    assert seen == [rows_of_step(step, num_rows, recipe).tolist() for step in range(recipe.total_steps(num_rows))]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = [rows_of_step(s, 50, Recipe(batch_size=10, seed=1)).tolist() for s in range(10)]
    assert first == [rows_of_step(s, 50, Recipe(batch_size=10, seed=1, learning_rate=0.5)).tolist() for s in range(10)]
    assert first[:5] != first[5:]
    assert first != [rows_of_step(s, 50, Recipe(batch_size=10, seed=2)).tolist() for s in range(10)]


@pytest.mark.parametrize(
    ("settings", "num_rows", "total"),
    [
        ({}, 100, 7),
        ({"epochs": 2}, 100, 14),
        ({"epochs": 0.5}, 100, 4),
        ({"epochs": 0.001}, 100, 1),
        ({"epochs": 1 / 3, "batch_size": 1}, 3, 1),
        ({"steps": 5}, 100, 5),
        ({"steps": 50, "batch_size": 100}, 10, 50),
    ],
)
def test_total_steps(settings: dict[str, float], num_rows: int, total: int) -> None:
    assert Recipe.model_validate(settings).total_steps(num_rows) == total


@given(total=st.integers(1, 500), wanted=st.integers(1, 1000))
def test_evaluations_are_spread_evenly_and_end_at_the_last_step(total: int, wanted: int) -> None:
    steps = Recipe(evaluations=wanted).evaluation_steps(total)
    assert steps[-1] == total
    assert len(steps) == min(wanted, total)
    gaps = np.diff([0, *steps])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_epochs_and_steps_together_are_refused() -> None:
    with pytest.raises(UserError, match="`epochs` or `steps` must be given, not both"):
        parse_config(Recipe, {"epochs": 1, "steps": 3})


@pytest.mark.parametrize(
    ("name", "higher", "new", "old", "better"),
    [
        (
            "validation/accuracy",
            True,
            {"validation/accuracy": 0.8, "validation/loss": 2.0},
            {"validation/accuracy": 0.7, "validation/loss": 1.0},
            True,
        ),
        (
            "validation/accuracy",
            True,
            {"validation/accuracy": 0.7, "validation/loss": 0.5},
            {"validation/accuracy": 0.7, "validation/loss": 1.0},
            True,
        ),
        (
            "validation/accuracy",
            True,
            {"validation/accuracy": 0.7, "validation/loss": 2.0},
            {"validation/accuracy": 0.7, "validation/loss": 1.0},
            False,
        ),
        ("validation/loss", False, {"validation/loss": 0.9}, {"validation/loss": 1.0}, True),
        ("validation/loss", False, {"validation/loss": 1.1}, {"validation/loss": 1.0}, False),
    ],
)
def test_what_counts_as_better(name: str, higher: bool, new: dict[str, float], old: dict[str, float], better: bool) -> None:
    assert (Objective(name, higher).gain(new, old) > 0) is better


def test_an_equal_evaluation_is_no_gain() -> None:
    same = {"validation/accuracy": 0.7, "validation/loss": 1.0}
    assert Objective("validation/accuracy", True).gain(same, same) <= 0
