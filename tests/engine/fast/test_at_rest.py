"""What the fast engine holds: the stored weights, and one layer merged with its adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.core.errors import CorruptArtifact
from luthier.core.execution import Execution
from luthier.engine.contract import Sampling
from luthier.engine.fast.architecture import read_architecture
from luthier.engine.fast.load import load_fast
from luthier.engine.fast.stored import StoredTensors
from luthier.engine.methods.contract import MethodSpec
from luthier.engine.methods.dora import DoRASpec
from luthier.engine.methods.last_layers import LastLayersSpec
from luthier.engine.methods.lora import LoRASpec
from toys import save_toy


def held(found: Any, seen: dict[int, int]) -> None:
    """The bytes of every storage below an object of the engine, each storage once."""
    if isinstance(found, torch.Tensor):
        storage = found.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
    elif isinstance(found, dict | tuple | list):
        for part in found.values() if isinstance(found, dict) else found:
            held(part, seen)
    elif type(found).__module__.startswith("luthier.engine"):
        names = getattr(found, "__slots__", ()) or vars(found)
        for name in names:
            held(getattr(found, name), seen)


def num_held(folder: Path, spec: MethodSpec | None) -> int:
    engine, seen = load_fast(folder, spec, None, 0, torch.float32, Execution()), dict[int, int]()
    held(engine._decoder.weights, seen)
    own: dict[int, int] = {}
    held(tuple(engine._adapters.parameters.values()), own)
    return sum(num for at, num in seen.items() if at not in own)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_linear_layers_stay_as_stored_beside_one_merged_layer(tmp_path: Path, stored: torch.dtype) -> None:
    save_toy(tmp_path, "llama", stored)
    arch = read_architecture(tmp_path)
    layer = sum(out * inner for out, inner in arch.linear_shapes().values())
    others = 4 * (arch.vocabulary * arch.hidden * (1 if arch.tied else 2) + (2 * arch.layers + 1) * arch.hidden)
    at_rest = arch.layers * layer * stored.itemsize
    for spec in (LoRASpec(4, 8.0), DoRASpec(4, 8.0)):
        assert num_held(tmp_path, spec) == others + at_rest + 4 * layer
    assert num_held(tmp_path, None) == others + at_rest + (4 * layer if stored == torch.bfloat16 else 0)
    norms = 2 * 4 * arch.hidden + 4 * arch.hidden  # those of the trained layer and the last one are parameters
    assert num_held(tmp_path, LastLayersSpec(1)) == others - norms + (arch.layers - 1) * layer * stored.itemsize + 4 * layer


def test_generation_leaves_nothing_behind(tmp_path: Path) -> None:
    save_toy(tmp_path, "llama")
    engine = load_fast(tmp_path, LoRASpec(4, 8.0), None, 0, torch.float32, Execution())
    before: dict[int, int] = {}
    held(engine._decoder.weights, before)
    engine.sample([np.arange(3, 9), np.arange(4, 8)], Sampling(max_new_tokens=4))
    after: dict[int, int] = {}
    held(engine._decoder.weights, after)
    assert after == before


def test_a_file_that_was_cut_is_said(tmp_path: Path) -> None:
    save_toy(tmp_path, "llama")
    tensors, path = StoredTensors(tmp_path), tmp_path / "model.safetensors"
    whole = tensors.read("model.norm.weight", (read_architecture(tmp_path).hidden,))
    assert whole.dtype == torch.float32
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(CorruptArtifact, match="cut while it was read"):
        tensors.read("model.norm.weight", (len(whole),))
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        StoredTensors(tmp_path)
    with pytest.raises(CorruptArtifact, match=r"lack no\.weight"):
        tensors.read("no.weight", (1,))


def test_an_index_that_names_no_files_is_said(tmp_path: Path) -> None:
    save_toy(tmp_path, "llama")
    (tmp_path / "model.safetensors.index.json").write_text('{"metadata": {}}')
    with pytest.raises(CorruptArtifact, match="has no weight_map"):
        load_fast(tmp_path, None, None, 0, torch.float32, Execution())
