"""The unavoidable operations against counts by hand, and against what torch counts for the plain computation."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.engine.memory.dimensions import Dimensions, Trains
from luthier.engine.memory.flops import FROZEN, Counts, count, counted_flops, measure_gemm_rate, unavoidable_flops
from luthier.engine.trees.pack import build_pack
from toys import random_tokens, sequence

H, INNER, V, HEADS, KV, D, L = 8, 12, 50, 4, 2, 2, 3
SIZES = Dimensions("llama", V, H, INNER, L, HEADS, KV, D, True, 64, 0, 4)
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
    one = Dimensions("llama", V, H, INNER, 1, HEADS, KV, D, True, 64, 0, 4)
    counts = Counts(10, 10, 55, 55)
    wanted = 10 * (2 * N + 4 * 5 * (8 + 12)) + 4 * HEADS * D * 55 + 4 * V * H * 10
    assert counted_flops(one, counts, Trains.lora(5, ("down_proj",))) == wanted


def test_all_weights_are_six_n() -> None:
    counts = Counts(10, 10, 55, 55)
    assert counted_flops(SIZES, counts, Trains()) == 10 * L * 6 * N + 3.5 * 4 * HEADS * D * 55 * L + 6 * V * H * 10


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
    sizes = Dimensions("llama", 61, 48, 40, 2, 6, 2, 8, False, 256, 0, 4)
    assert counter.get_total_flops() == counted_flops(sizes, Counts(30, 30, 900, 900), FROZEN)


def test_the_rate_is_a_rate() -> None:
    """Half the work in the same time would be half the rate: the rate of a real product lies within a wide sane band."""
    rate = measure_gemm_rate(Dimensions("llama", 1000, 256, 512, 2, 4, 4, 64, True, 64, 0, 4), 256, seconds=0.1)
    assert 1e8 < rate < 1e14
