"""The learning-rate range test: its rates, its stop, its suggestion, and that it leaves the project as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.cli.lr_range import advice
from luthier.core.errors import UserError
from luthier.engine.contract import Batch, NonFiniteLoss, StepOutput
from luthier.parts.losses.sft import SFT
from luthier.pipeline.lr_range import RangeTest, range_test
from luthier.pipeline.run import RunOptions
from luthier.pipeline.workspace import Workspace
from luthier.stages.train.lr_range import DIVERGED, PAST, Sweep, limits, rates_between, smooth, steepest, sweep
from luthier.stages.train.recipe import Recipe
from toy_project import luthier

PNG = b"\x89PNG\r\n\x1a\n"


class Quadratic:
    """Plain gradient descent on 1 + (w - 3)^2 / 2 from w = 0: every rate above 2 makes it worse."""

    def __init__(self, refuse_at: float = float("inf")) -> None:
        self.w, self.seen, self.refuse_at = 0.0, [], refuse_at

    def forward_backward(self, batch: Batch, loss: Any) -> StepOutput:
        if abs(self.w) > self.refuse_at:
            raise NonFiniteLoss("the loss")
        return StepOutput(1 + (self.w - 3) ** 2 / 2, 1, 1, 1)

    def optim_step(self, rate: float) -> float:
        self.seen.append(rate)
        self.w -= rate * (self.w - 3)
        return 1.0


def swept(engine: Any, rates: list[float]) -> Sweep:
    return sweep(engine, lambda step: Batch((), 1.0), SFT(), rates, lambda done, total: None)


def test_rates_grow_by_the_same_factor() -> None:
    rates = rates_between(1e-6, 1e-1, 51)
    assert (rates[0], rates[-1]) == (1e-6, pytest.approx(1e-1))
    assert np.diff(np.log10(rates)) == pytest.approx(np.full(50, 0.1))
    for bad in ((1e-6, 1e-1, 5), (1e-1, 1e-6, 50), (0.0, 1.0, 50)):
        with pytest.raises(UserError, match="10 steps"):
            rates_between(*bad)


def test_the_sweep_is_by_hand() -> None:
    engine, rates = Quadratic(), rates_between(1e-4, 1.0, 40)
    found = swept(engine, rates)
    assert engine.seen == rates
    w = 0.0
    for i, rate in enumerate(rates):
        assert found.losses[i] == pytest.approx(1 + (w - 3) ** 2 / 2)
        w -= rate * (w - 3)
    assert found.diverged is None
    assert found.suggested == rates[int(np.gradient(np.array(found.smoothed), np.log(rates)).argmin())]
    steepest_raw = rates[int(np.gradient(np.array(found.losses), np.log(rates)).argmin())]
    assert 1 / 2 < found.suggested / steepest_raw < 2  # the smoothing does not lag


def test_smoothing_is_a_mean_under_a_gaussian_kernel() -> None:
    losses = np.random.default_rng(3).normal(size=30)
    at = np.arange(30)
    kernel = np.exp(-0.5 * ((at[:, None] - at[None]) / 2.0) ** 2)
    kernel[np.abs(at[:, None] - at[None]) > 8] = 0  # scipy cuts at four standard deviations
    assert smooth(losses.tolist(), 2.0) == pytest.approx((kernel @ losses / kernel.sum(1)).tolist())
    assert smooth([], 2.0) == []


def test_it_stops_where_the_loss_blows_up() -> None:
    found = swept(Quadratic(), rates_between(1e-3, 1e4, 100))
    assert found.diverged is not None
    assert 2 < found.diverged < 1e4
    past, means = 0.0, []
    for i, value in enumerate(found.losses):
        past = PAST * past + (1 - PAST) * value
        means.append(past / (1 - PAST ** (i + 1)))
    assert [m > DIVERGED * min(means[: i + 1]) for i, m in enumerate(means)] == [False] * (len(means) - 1) + [True]
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 100
    assert found.suggested is not None
    assert found.suggested < found.diverged


def test_a_loss_that_is_not_finite_ends_it_too() -> None:
    found = swept(Quadratic(refuse_at=50.0), rates_between(1e-3, 1e4, 60))
    assert found.diverged is not None
    assert len(found.rates) == len(found.losses) == len(found.smoothed)
    assert np.isfinite(found.losses).all()


def test_no_descent_gives_no_rate() -> None:
    assert steepest([10.0**i for i in range(12)], [1.0 + i for i in range(12)]) is None
    assert steepest([1e-3, 1e-2], [2.0, 1.0]) is None
    nothing = RangeTest(Sweep((1e-3,), (1.0,), (1.0,), None, None), 1e-3, None, Path())
    assert "at no rate" in advice(nothing)


@pytest.mark.parametrize(
    ("current", "said"),
    [
        (1e-3, "is between 0.0003 and 0.05, where rates are worth trying"),
        (0.03, "where rates are worth trying"),
        (0.2, "is outside 0.0003 to 0.05: try 0.001"),
        (1e-5, "is outside 0.0003 to 0.05: try 0.001"),
    ],
)
def test_the_suggestion_is_put_beside_the_own_rate(current: float, said: str) -> None:
    words = advice(RangeTest(Sweep((1e-4, 0.5), (), (), 1e-3, 0.5), current, None, Path()))
    assert said in words
    assert "steeply at a rate of 0.001 and blew up at 0.5" in words


def test_the_range_follows_the_method() -> None:
    assert limits(Recipe()) == pytest.approx((5e-7, 0.2))
    assert limits(Recipe.model_validate({"optimizer": {"kind": "sgd"}})) == (1e-7, 1.0)


def test_a_sweep_leaves_the_run_as_it_was(finished_toy: Path, tmp_path: Path) -> None:
    def kept(folder: Path) -> set[str]:
        return {str(p) for place in ("artifacts", "work", "runs") for p in (folder / ".luthier" / place).iterdir()}

    folder = tmp_path / "toy"
    shutil.copytree(finished_toy, folder)
    before = kept(folder)
    done = luthier(folder, "train", "--lr-range", "40", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["version"]) == ("lr_range", 1)
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) >= 10
    assert found["usual"] == pytest.approx([5e-5, 2e-3])
    assert found["current"] == 0.01
    assert 1e-4 < found["suggested"] < 0.2
    assert "falls most steeply at a rate of" in done.stderr
    plot, figures = folder / found["plot"], folder / found["figures"]
    assert plot.read_bytes().startswith(PNG)
    assert json.loads(figures.read_text(encoding="utf-8"))["losses"] == pytest.approx(found["losses"])
    assert plot.parent.parent == folder / ".luthier" / "lr-range"
    assert kept(folder) == before


def test_a_sweep_in_two_processes_is_that_of_one(finished_toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(finished_toy, folder)
    told: list[Any] = []
    options = RunOptions(told.append, lambda: False)
    one, two = (range_test(Workspace.open(folder / "luthier.yaml", (f"execution.nproc={n}",)), 12, options) for n in (1, 2))
    assert two.sweep.rates == one.sweep.rates
    assert two.sweep.losses == pytest.approx(one.sweep.losses, rel=1e-4)
    with pytest.raises(UserError, match="61 processes, 60 rows"):
        range_test(Workspace.open(folder / "luthier.yaml", ("execution.nproc=61", "train.batch_size=64")), 12, options)


def test_too_few_steps_are_the_users_error(finished_toy: Path) -> None:
    done = luthier(finished_toy, "train", "--lr-range", "3")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
