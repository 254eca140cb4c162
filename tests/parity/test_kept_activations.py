"""Rows of frozen layers kept between epochs: the same losses as without, the same bytes whatever became of the folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import as_batch, deep_tree, packed
from luthier.core.execution import Execution
from luthier.engine.contract import Keeping, NoiseRates, TokenSequence
from luthier.engine.methods.last_layers import LastLayersSpec
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT

GB = 2**30
LAST = LastLayersSpec(1)
EPOCHS = 3


def rows() -> list[TokenSequence]:
    return [*deep_tree(), *packed()]


def inputs() -> set[bytes]:
    """What each row is computed of: the tokens before its last target."""
    return {s.tokens[: np.flatnonzero(s.weights)[-1]].tobytes() for s in rows()}


def steps() -> list[np.ndarray]:
    """Every row once an epoch, in steps of three, in another order each time."""
    orders = [np.random.default_rng(epoch).permutation(len(rows())) for epoch in range(EPOCHS)]
    return [order[at : at + 3] for order in orders for at in range(0, len(order), 3)]


def engine_of(folder: Path, spec: Any = LAST, dtype: Any = "float64") -> Any:
    return load_engine(folder, spec, Execution(engine="fast", micro_batch_tokens=64, threads=1), 3, None, dtype)


def trained(engine: Any, before: Callable[[int], None] = lambda step: None) -> list[float]:
    """The losses of every step."""
    losses, given = [], rows()
    for step, picked in enumerate(steps()):
        before(step)
        losses.append(engine.forward_backward(as_batch([given[i] for i in picked]), SFT()).loss)
        engine.optim_step(1e-2)
    return losses


def keeping(folder: Path, **more: Any) -> Keeping:
    return Keeping(**{"folder": folder, "limit_bytes": GB, "weights": "abc", **more})


def kept(model: Path, folder: Path, dtype: Any = "float32") -> Any:
    engine = engine_of(model, dtype=dtype)
    assert "is kept on disk between epochs" in engine.keep_activations(keeping(folder), rows(), steps())
    return engine


def same_bytes(a: Any, b: Any) -> bool:
    one, two = a.state(), b.state()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one if isinstance(one[k], torch.Tensor))


def test_losses_and_weights_are_those_without_it(toy_folder: Any, tmp_path: Path) -> None:
    plain, with_it = engine_of(toy_folder("llama")), kept(toy_folder("llama"), tmp_path / "kept", "float64")
    assert trained(with_it) == pytest.approx(trained(plain), rel=1e-12)
    assert len(list((tmp_path / "kept").iterdir())) == len(inputs())
    wanted, found = plain.state(), with_it.state()
    for name in (n for n in wanted if n.startswith("adapter.")):
        assert torch.allclose(found[name], wanted[name], atol=1e-9), name


def test_bytes_do_not_depend_on_what_became_of_the_folder(toy_folder: Any, tmp_path: Path) -> None:
    whole = kept(toy_folder("llama"), tmp_path / "whole")
    losses = trained(whole)

    def emptied(step: int) -> None:
        shutil.rmtree(tmp_path / "emptied")
        (tmp_path / "emptied").mkdir()

    def damaged(step: int) -> None:
        for number, path in enumerate(sorted((tmp_path / "damaged").iterdir())):
            data = path.read_bytes()
            path.write_bytes(data[:-3] if number % 2 else data[:9] + bytes([data[9] ^ 1]) + data[10:])

    for name, spoil in (("emptied", emptied), ("damaged", damaged)):
        again = kept(toy_folder("llama"), tmp_path / name)
        assert trained(again, spoil) == losses
        assert same_bytes(again, whole)
    resumed = kept(toy_folder("llama"), tmp_path / "whole")  # a process that finds the folder full
    assert trained(resumed) == losses
    assert same_bytes(resumed, whole)


def test_the_lower_layers_are_computed_once_for_each_row(toy_folder: Any, tmp_path: Path) -> None:
    engine = kept(toy_folder("llama"), tmp_path / "kept")
    trained(engine)
    decoder, computed = engine._decoder, []
    plain = decoder.below
    decoder.below = lambda pack: computed.append(pack) or plain(pack)
    trained(engine)
    assert computed == []
    other = engine_of(toy_folder("llama"), dtype="float32")
    other.keep_activations(keeping(tmp_path / "kept", weights="other"), rows(), steps())
    trained(other)
    assert len(list((tmp_path / "kept").iterdir())) == 2 * len(inputs())  # another base's are others


def test_another_method_on_upper_layers_alone_has_it_too(toy_folder: Any, tmp_path: Path) -> None:
    spec = LoRASpec(2, 4.0, ("model.layers.1.*",))
    plain, with_it = engine_of(toy_folder("llama"), spec), engine_of(toy_folder("llama"), spec)
    assert "is kept" in with_it.keep_activations(keeping(tmp_path / "kept"), rows(), steps())
    assert trained(with_it) == pytest.approx(trained(plain), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit_bytes": 0}, "execution.cache_gb is 0"),
        ({"limit_bytes": 1000}, "execution.cache_gb allows"),
        ({"noise": NoiseRates(dropout=0.1)}, "dropout or embedding noise"),
        ({"noise": NoiseRates(embedding=5.0)}, "dropout or embedding noise"),
    ],
)
def test_what_keeps_it_off_is_said(toy_folder: Any, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    said = engine_of(toy_folder("llama")).keep_activations(keeping(tmp_path / "kept", **change), rows(), steps())
    assert said.startswith("what the 1 frozen layers below give is not kept between epochs: ")
    assert words in said
    assert not (tmp_path / "kept").exists()


def test_one_epoch_and_a_whole_stack_keep_nothing(toy_folder: Any, tmp_path: Path) -> None:
    once = engine_of(toy_folder("llama")).keep_activations(keeping(tmp_path / "kept"), rows(), steps()[: len(steps()) // EPOCHS])
    assert "each row once is" in once
    assert engine_of(toy_folder("llama"), LastLayersSpec(2)).keep_activations(keeping(tmp_path / "kept"), rows(), steps()) == ""
    assert not (tmp_path / "kept").exists()
