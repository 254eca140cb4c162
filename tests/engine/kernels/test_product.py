"""Products with packed weights against float64, and the weights that are not packed."""

from __future__ import annotations

import pytest
import torch

from luthier.engine.kernels import product
from luthier.engine.kernels.product import multiply, pack

LARGE, SMALL = (192, 384), (24, 32)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("rows", [0, 1, 7, 64, 300])
def test_products_are_those_of_float64(rows: int) -> None:
    x, weight, bias = drawn(rows, LARGE[1]), drawn(*LARGE), drawn(LARGE[0])
    exact = x.double() @ weight.double().t()
    packed = pack(weight, 64)
    assert packed is not None
    for got, wanted in (
        (multiply(x, weight), exact),
        (multiply(x, weight, bias), exact + bias.double()),
        (multiply(x, weight, None, packed), exact),
        (multiply(x, weight, bias, packed), exact + bias.double()),
    ):
        assert got.shape == wanted.shape
        assert got.dtype == torch.float32
        assert (got.double() - wanted).norm() <= 1e-6 * wanted.norm()


def test_a_packed_weight_is_a_copy() -> None:
    weight = drawn(*LARGE)
    packed, x, before = pack(weight, 64), drawn(5, LARGE[1]), weight.clone()
    weight.zero_()
    assert torch.equal(multiply(x, weight, None, packed), multiply(x, before, None, pack(before, 64)))


def test_other_weights_are_left_to_torch() -> None:
    for weight in (drawn(*SMALL), drawn(*LARGE).double(), drawn(*LARGE).bfloat16()):
        assert pack(weight, 64) is None


def test_this_machine_has_onednn() -> None:
    """The pinned PyTorch names the operator; one that does not must be noticed here, not as lost speed."""
    assert (product._onednn is not None) == torch.backends.mkldnn.is_available()
