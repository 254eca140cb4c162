"""The LoRA part: defaults, faults, and that reading it needs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.parts.losses.sft import SFT
from luthier.parts.methods.lora import LoRA


def test_alpha_follows_the_rank() -> None:
    assert LoRA(rank=8).spec().scale == 2.0
    assert LoRA(rank=8, alpha=4).spec().scale == 0.5
    assert LoRA(rank=16, alpha=8, rslora=True).spec().scale == 2.0
    assert LoRA().spec().targets == ("all-linear",)
    assert LoRA(targets=("q_proj",)).spec().targets == ("q_proj",)


@pytest.mark.parametrize(
    ("data", "word"), [({"rank": 0}, "rank"), ({"alpha": -1}, "alpha"), ({"targets": []}, "target"), ({"rnk": 2}, "rank")]
)
def test_faults_are_named(data: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        parse_config(LoRA, data)


def test_reading_a_method_or_a_loss_imports_no_torch() -> None:
    code = "import sys, luthier.parts.losses.sft, luthier.engine.contract, luthier.parts.methods.lora as m\n"
    code += "m.LoRA()\nprint('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_sft_is_linear() -> None:
    import torch

    lp, w = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.rand(5, dtype=torch.float64)
    (g,) = torch.autograd.grad(SFT()(lp, w, torch.zeros(5)), lp)
    assert torch.equal(-g, SFT().coefficients(w))
