"""The unavoidable operations against counts by hand, and against what torch counts for the plain computation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from luthier.engine.fast.architecture import read_architecture
from luthier.engine.memory.dimensions import PARTS, Dimensions, Own, Trains, read_dimensions, shape_of
from luthier.engine.memory.flops import FROZEN, Counts, count, counted_flops, measure_gemm_rate, unavoidable_flops
from luthier.engine.trees.pack import build_pack
from toys import FAMILIES, random_tokens, save_toy, sequence

H, INNER, V, HEADS, KV, D, L = 8, 12, 50, 4, 2, 2, 3
SIZES = Dimensions("llama", V, H, INNER, L, HEADS, KV, D, True, 64, 4)
N_QO, N_KV, N_MLP = 2 * 8 * 8, 2 * 8 * 4, 3 * 8 * 12
N = N_QO + N_KV + N_MLP


def test_a_forward_pass_by_hand() -> None:
    """Ten rows in a line, two of them needed (depths 4 and 9)."""
    pack = build_pack([sequence(list(range(3, 14)), [5, 10])], [0])
    counts = count(pack)
    assert counts == Counts(rows=10, needed=2, pairs=55, needed_pairs=15)
    linears = 2 * N * 10 * (L - 1) + 2 * N_KV * 10 + 2 * (N_QO + N_MLP) * 2
    attention = 4 * HEADS * D * (55 * (L - 1) + 15)
    assert unavoidable_flops(SIZES, [pack], FROZEN) == linears + attention + 2 * V * H * 2


def test_lora_is_four_n_and_stops_at_the_lowest_trained_layer() -> None:
    """Every row needed: 4N + 4 r (i + o) a row, 3.5 A, the head twice; nothing flows below q, k and v of layer 0."""
    counts, rank = Counts(10, 10, 55, 55), 3
    io = 2 * (8 + 8) + 2 * (8 + 4) + 3 * (8 + 12)
    wanted = 10 * (L * (4 * N + 4 * rank * io) - 2 * (N_QO // 2 + N_KV)) + 3.5 * 4 * HEADS * D * 55 * L + 4 * V * H * 10
    assert counted_flops(SIZES, counts, Trains.lora(rank)) == wanted


def test_only_the_last_product_of_the_first_layer() -> None:
    """LoRA on `down_proj`: in layer 0 no gradient flows anywhere, in the others through everything."""
    one = Dimensions("llama", V, H, INNER, 1, HEADS, KV, D, True, 64, 4)
    counts = Counts(10, 10, 55, 55)
    wanted = 10 * (2 * N + 4 * 5 * (8 + 12)) + 4 * HEADS * D * 55 + 4 * V * H * 10
    assert counted_flops(one, counts, Trains.lora(5, ("down_proj",))) == wanted


def test_all_weights_are_six_n() -> None:
    counts = Counts(10, 10, 55, 55)
    assert counted_flops(SIZES, counts, Trains()) == 10 * L * 6 * N + 3.5 * 4 * HEADS * D * 55 * L + 6 * V * H * 10


def test_other_methods_by_hand() -> None:
    """Below the lowest trained layer a forward pass alone; in it no gradient of what enters; above it all of them."""
    counts, top = Counts(10, 10, 55, 55), SIZES.layers - 1
    whole = Trains(0, PARTS, Own(N, top, 0, 2.0 * N, False))
    wanted = 10 * L * 2 * N + 4 * HEADS * D * 55 * L + 4 * V * H * 10  # forward, and the head's two products
    inside = sum(2 * out * inner for out, inner in (shape_of(SIZES, p) for p in ("o_proj", "gate_proj", "up_proj", "down_proj")))
    wanted += 10 * (inside + 2 * N) + 2.5 * 4 * HEADS * D * 55
    assert counted_flops(SIZES, counts, whole) == wanted
    biases = Trains(0, PARTS, Own(50, 0, 0, 0.0, False))
    assert counted_flops(SIZES, counts, biases) == counted_flops(SIZES, counts, Trains.lora(0))


def test_shared_tokens_count_once() -> None:
    """Two rows below one prefix of 60 tokens: the tree's work is less than that of the rows apart by the prefix's."""
    rng = np.random.default_rng(0)
    root = random_tokens(rng, 60)
    rows = [sequence([*root, *random_tokens(rng, 5)], [63, 64]) for _ in (0, 1)]
    together = unavoidable_flops(SIZES, [build_pack(rows, [0, 1])], Trains.lora(2))
    apart = unavoidable_flops(SIZES, [build_pack(rows, [0]), build_pack(rows, [1])], Trains.lora(2))
    prefix = counted_flops(SIZES, Counts(60, 0, 60 * 61 // 2, 0), Trains.lora(2))
    assert apart - together == pytest.approx(prefix)


def test_torch_counts_the_same_for_a_plain_forward() -> None:
    """torch's own counter over transformers' forward with every row needed, attention apart (it computes the whole square)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    from toys import toy_config

    config = toy_config("llama")
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.arange(3, 33)[None])
    sizes = Dimensions("llama", 61, 48, 40, 2, 6, 2, 8, False, 256, 4)
    assert counter.get_total_flops() == counted_flops(sizes, Counts(30, 30, 900, 900), FROZEN)


def test_fused_layers_and_windows_by_hand() -> None:
    """Phi-3 shapes: one adapter over q, k and v, of which q is computed on needed rows only in the last layer; a window of four tokens."""
    sizes = Dimensions("phi3", V, H, INNER, 2, HEADS, KV, D, True, 64, 4, (4, None))
    pack = build_pack([sequence(list(range(3, 14)), [5, 10])], [0])
    counts = count(pack, 4)
    assert counts == Counts(10, 2, 55, 15, near_pairs=1 + 2 + 3 + 4 * 7, near_needed_pairs=8)
    assert unavoidable_flops(sizes, [pack], FROZEN) == counted_flops(sizes, counts, FROZEN)
    attention = 4 * HEADS * D * (34 + 15)
    assert counted_flops(sizes, counts, FROZEN) == 2 * N * 10 + 2 * N_KV * 10 + 2 * (N_QO + N_MLP) * 2 + attention + 2 * V * H * 2
    whole, q, kv, rank = Counts(10, 10, 55, 55, 34, 34), HEADS * D, KV * D, 3
    fused = Trains.lora(rank, family="phi3")
    assert fused.modules == ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    io = (H + q + 2 * kv) + (q + H) + (H + 2 * INNER) + (INNER + H)
    base = counted_flops(sizes, whole, Trains.lora(1)) - 2 * 10 * 4 * (2 * (8 + 8) + 2 * (8 + 4) + 3 * (8 + 12))
    assert counted_flops(sizes, whole, fused) == base + 2 * 10 * 4 * rank * io


@pytest.mark.parametrize("family", FAMILIES)
def test_dimensions_without_transformers_are_the_architectures(family: str, tmp_path: Path) -> None:
    """The config as transformers writes it, and with all left out that the families' configs fill in."""
    folder = save_toy(tmp_path / family, family)
    for leave_out in ((), ("layer_types", "tie_word_embeddings")):
        config = json.loads((folder / "config.json").read_text())
        if not (family == "gemma3" or (family == "llama-tied" and leave_out)):
            config = {k: v for k, v in config.items() if k not in leave_out}
        (folder / "config.json").write_text(json.dumps(config))
        arch, sizes = read_architecture(folder), read_dimensions(folder)
        for name in ("family", "vocabulary", "hidden", "intermediate", "layers", "heads", "kv_heads", "head_dim", "longest", "tied"):
            assert getattr(sizes, name) == getattr(arch, name), name
        assert sizes.windows in (arch.windows, ())
        assert any(arch.windows) == any(sizes.windows)


def test_the_rate_is_a_rate() -> None:
    """Half the work in the same time would be half the rate: the rate of a real product lies within a wide sane band."""
    rate = measure_gemm_rate(Dimensions("llama", 1000, 256, 512, 2, 4, 4, 64, True, 64, 4), 256, seconds=0.1)
    assert 1e8 < rate < 1e14
