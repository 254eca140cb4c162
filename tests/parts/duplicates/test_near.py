"""Near duplicates: shingles and Jaccard against sets of strings, the finder against every pair and against datasketch."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_twin import alike_pairs, banking, edited, partition, shingle_strings, true_jaccard

from luthier.core.errors import MachineError, UserError
from luthier.parts.duplicates import near
from luthier.parts.duplicates.near import NearFinder, Sketch, joined
from luthier.parts.duplicates.shingles import CHUNK_CHARACTERS, CHUNK_ROWS, Shingling, chunks, jaccard
from luthier.parts.duplicates.text import normalised_text

TEXTS = st.lists(st.text(alphabet="abc é\ud800😀", max_size=14), min_size=1, max_size=6)


def finder(texts: list[str], threshold: float = 0.8, num_perm: int = 128, sides: list[int] | None = None) -> NearFinder:
    return NearFinder(texts, np.array(sides or [0] * len(texts)), Shingling("characters", 5), Sketch(threshold, num_perm, 13))


def clusters(groups: np.ndarray) -> set[frozenset[int]]:
    found = {int(g): frozenset(np.flatnonzero(groups == g).tolist()) for g in groups}
    return {rows for rows in found.values() if len(rows) > 1}


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from(["characters", "words"]), st.integers(1, 6))
def test_sets_and_jaccard_are_those_of_strings(texts: list[str], unit: str, size: int) -> None:
    texts = [" ".join(t.split()) for t in texts]
    sets = Shingling(unit, size).sets(texts)  # type: ignore[arg-type]
    assert sets[1].tolist() == [len(shingle_strings(t, unit, size)) for t in texts]
    a, b = (side.ravel() for side in np.meshgrid(np.arange(len(texts)), np.arange(len(texts))))
    wanted = [true_jaccard(texts[i], texts[j], unit, size) for i, j in zip(a, b, strict=True)]
    assert jaccard(sets, a, b).tolist() == wanted


def test_words_are_whole_and_a_short_text_is_one_shingle() -> None:
    words = Shingling("words", 2)
    assert words.hashes(["a b c", "a", "", "ab c"])[1].tolist() == [2, 1, 1, 1]
    sets = words.sets(["pay my card", "pay my", "paym y"])
    assert jaccard(sets, np.array([0, 0]), np.array([1, 2])).tolist() == [0.5, 0.0]


def test_chunks_cover_every_row_once() -> None:
    lengths = np.array([5, 9_000_000, 0, 3, CHUNK_CHARACTERS, 1, *[2] * (CHUNK_ROWS + 3)])
    parts = list(chunks(lengths))
    assert [i for p in parts for i in range(p.start, p.stop)] == list(range(len(lengths)))
    assert all(p.stop - p.start == 1 or lengths[p].sum() <= CHUNK_CHARACTERS for p in parts)
    assert max(p.stop - p.start for p in parts) == CHUNK_ROWS
    assert list(chunks(np.zeros(0, np.int64))) == []


def test_clusters_are_those_of_every_pair_on_real_rows(shared_data: Path) -> None:
    rng = random.Random(3)
    texts = banking(shared_data, 400)
    texts = [normalised_text(t) for t in texts + [edited(rng.choice(texts), rng) for _ in range(200)]]
    texts = list(dict.fromkeys(texts))
    for threshold in (0.6, 0.8):
        pairs = alike_pairs(texts, threshold)
        assert len(pairs) > 100
        groups = finder(texts, threshold).groups()
        found = sum(groups[i] == groups[j] for i, j in pairs)
        assert found / len(pairs) >= 0.99
        whole = partition(len(texts), pairs)
        assert all(any(rows <= true for true in whole) for rows in clusters(groups))


def test_recall_at_the_threshold_is_what_the_bands_promise() -> None:
    """Pairs whose Jaccard is the threshold itself: 0.8 of 90 shingles; at least 99 % are found, less 3 standard errors."""
    rng = random.Random(5)
    letters = [chr(0x4E00 + i) for i in range(5000)]
    texts, num = [], 400
    for _ in range(num):
        own = rng.sample(letters, 108)
        texts += ["".join(own[:99]), "".join(own[:90] + own[99:])]
    one = [true_jaccard(texts[2 * i], texts[2 * i + 1], "characters", 1) for i in range(num)]
    assert set(one) == {90 / 108}
    sides = np.zeros(len(texts), np.int64)
    found = NearFinder(texts, sides, Shingling("characters", 1), Sketch(90 / 108, 128, 1)).groups()
    share = np.mean(found[::2] == found[1::2])
    assert share >= 0.99 - 3 * (0.99 * 0.01 / num) ** 0.5
    bands, rows = Sketch(0.8, 128, 1).bands()
    assert bands * rows <= 128
    assert (1 - 0.8**rows) ** bands <= 0.01 < (1 - 0.8 ** (rows + 1)) ** (128 // (rows + 1))


def test_datasketch_finds_no_true_pair_that_we_miss(shared_data: Path) -> None:
    datasketch = pytest.importorskip("datasketch")
    rng = random.Random(4)
    texts = banking(shared_data, 300)
    texts = list(dict.fromkeys(normalised_text(t) for t in texts + [edited(rng.choice(texts), rng) for _ in range(150)]))
    index = datasketch.MinHashLSH(threshold=0.8, num_perm=128)
    theirs: set[tuple[int, int]] = set()
    for i, text in enumerate(texts):
        sketch = datasketch.MinHash(num_perm=128, seed=1)
        sketch.update_batch(["".join(map(str, s)).encode() for s in shingle_strings(text, "characters", 5)])
        theirs |= {(j, i) for j in index.query(sketch) if true_jaccard(texts[j], text) >= 0.8}
        index.insert(i, sketch)
    groups = finder(texts).groups()
    assert len(theirs) > 50
    assert all(groups[i] == groups[j] for i, j in theirs)


def test_rows_of_different_sides_are_never_joined() -> None:
    text = "when will my new card arrive at my home address"
    assert clusters(finder([text, text + " x", text + " y"], sides=[0, 1, 0]).groups()) == {frozenset({0, 2})}
    assert finder([text, text], sides=[0, 1]).likeness(np.array([0]), np.array([1])).tolist() == [0.0]


def test_chains_are_one_cluster_and_order_changes_nothing() -> None:
    base = "the quick brown fox jumps over the lazy dog and runs into the deep dark forest to find its friends again"
    chain = [base[4 * i : 60 + 4 * i] for i in range(8)]
    assert true_jaccard(chain[0], chain[-1]) < 0.5
    wanted = {frozenset(range(8))}
    assert clusters(finder(chain).groups()) == partition(8, alike_pairs(chain, 0.8)) == wanted
    assert clusters(finder(chain[::-1]).groups()) == wanted


def test_a_bucket_that_is_too_large_is_an_error_that_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    shared = "please transfer the whole amount to the account that is named in the letter of "
    texts = [shared + "".join(rng.choices("abcdefghij", k=14)) for _ in range(120)]
    monkeypatch.setattr(near, "MOST_PAIRS", 300)
    with pytest.raises(UserError, match="raise `threshold`"):
        finder(texts, threshold=0.9, num_perm=32).groups()
    said: list[str] = []
    copies = [*texts, texts[0] + "."]
    warned = NearFinder(copies, np.zeros(121, np.int64), Shingling("characters", 5), Sketch(0.9, 32, 13), warn=said.append).groups()
    assert clusters(warned) <= {frozenset({0, 120})}
    assert len(said) == 1
    assert "only 300 of their pairs" in said[0]
    monkeypatch.undo()
    assert clusters(finder(texts, threshold=0.9, num_perm=32).groups()) == set()


def test_joining_is_connected_components() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(60)
    pairs: set[tuple[int, int]] = set()
    for _ in range(12):
        a, b = rng.integers(0, 60, (2, 4))
        group = joined(group, a, b)
        pairs |= {(int(x), int(y)) for x, y in zip(a, b, strict=True) if x != y}
        assert clusters(group) == partition(60, pairs)
    assert all(group[group[i]] == group[i] <= i for i in range(60))


def test_without_rensa_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(MachineError, match="needs rensa"):
        finder(["a", "b"]).groups()


def test_one_row_and_no_row() -> None:
    assert finder(["only"]).groups().tolist() == [0]
    assert finder([]).groups().tolist() == []
