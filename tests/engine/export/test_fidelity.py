"""The comparison of an export with its source: the figures by hand, the bounds, and batches that change nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from luthier.engine.export.fidelity import BOUNDS, Bound, Reading, answer_logits, compare, rounding
from luthier.engine.export.loading import load_plain
from toy_models import make_toy_base


def test_figures_by_hand() -> None:
    wanted = [torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[0.0, 1e-5]])]
    found = [torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([[1e-5, 0.0]])]
    m = compare(wanted, found)
    p, q = torch.softmax(wanted[0][1].double(), -1), torch.softmax(found[0][1].double(), -1)
    assert (m.prompts, m.tokens, m.equal_tokens, m.equal_answers, m.near_ties) == (2, 3, 1, 0, 1)
    assert m.max_logit_error == 2.0
    assert m.mean_logit_error == pytest.approx((3.0 + 2e-5) / 6)
    assert m.max_kl == pytest.approx(float((p * (p / q).log()).sum()))


def test_a_longer_vocabulary_is_cut_and_nan_is_never_lost() -> None:
    same = [torch.randn(4, 7)]
    assert compare(same, [torch.cat([same[0], torch.full((4, 3), 99.0)], 1)]).max_logit_error == 0
    broken = same[0].clone()
    broken[2, 3] = math.nan
    m = compare([*same, *same], [broken, *same])
    assert math.isnan(m.max_logit_error)
    assert all(m.breaches(bound, "x") for bound in BOUNDS.values())


def test_each_part_of_a_bound_can_be_broken() -> None:
    wanted = [torch.tensor([[0.0, 1.0]] * 10)]
    close = compare(wanted, [wanted[0] + torch.tensor([0.0, 5e-4])])
    assert [b.split(" is ")[0] for b in close.breaches(Bound(True, 1.0, 0.0), "x")] == ["the largest logit difference"]
    assert not close.breaches(Bound(False, 1.0, 1.0), "x")
    far = compare(wanted, [-wanted[0]])
    assert len(far.breaches(Bound(True, 1e-3, 0.9), "x")) == 3


def test_rounding_grows_with_the_logits() -> None:
    assert rounding(3.0) == 1e-4
    assert rounding(50.0) == pytest.approx(5e-4)


def test_reading_together_is_reading_alone(tmp_path: Path) -> None:
    model = load_plain(make_toy_base(tmp_path / "base")).double()
    rng = np.random.default_rng(0)
    readings = []
    for n in (5, 40, 17, 90, 17, 33):
        readings.append(Reading(rng.integers(3, 300, n + 4).astype(np.int32), n))
    together = answer_logits(model, readings, lambda done, total: None)
    for reading, found in zip(readings, together, strict=True):
        alone = model(torch.from_numpy(reading.tokens.astype(np.int64))[None]).logits[0, reading.start - 1 : -1].float()
        assert found.shape == (4, 300)
        assert torch.allclose(found, alone, atol=1e-6, rtol=0)
