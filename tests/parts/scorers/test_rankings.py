"""Rankings equal their library oracles, and what is no ranking is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import load


def _row(wanted: object) -> Example:
    return Example((Message("user", "q"), Message("assistant", json.dumps(wanted))), Source("rows.jsonl", "line 1"))


def _random(seed: int) -> tuple[list[str], list[str], np.ndarray]:
    """A wanted order, an answered one, and the place of each wanted item in the answer."""
    rng = np.random.default_rng(seed)
    wanted = [f"item {i}" for i in range(int(rng.integers(2, 12)))]
    answered = [wanted[i] for i in rng.permutation(len(wanted))]
    return wanted, answered, np.array([answered.index(item) for item in wanted])


@pytest.mark.parametrize("seed", range(20))
def test_orders_equal_their_oracles(seed: int) -> None:
    wanted, answered, place = _random(seed)
    n, row, said = len(wanted), _row(wanted), json.dumps(answered)
    gains = np.arange(n, 0, -1)[None, :]
    assert load("ndcg")(row, said).value == pytest.approx(ndcg_score(gains, -place[None, :]))
    k = max(1, n // 2)
    assert load({"kind": "ndcg", "k": k})(row, said).value == pytest.approx(ndcg_score(gains, -place[None, :], k=k))
    first = np.eye(n, dtype=int)[:1]
    assert load("mrr")(row, said).value == pytest.approx(label_ranking_average_precision_score(first, -place[None, :]))
    tau = kendalltau(np.arange(n), place).statistic
    assert 2 * load("pairwise_order")(row, said).value - 1 == pytest.approx(tau)


def test_graded_relevance_equals_scikit_learn() -> None:
    grades = {"a": 3.0, "b": 0.0, "c": 1.0, "d": 3.0}
    said = ["c", "d", "b", "a"]
    place = np.array([[-said.index(item) for item in grades]])
    assert load("ndcg")(_row(grades), json.dumps(said)).value == pytest.approx(ndcg_score([list(grades.values())], place))
    assert load("mrr")(_row(grades), json.dumps(said)).value == 0.5
    assert load("pairwise_order")(_row(grades), json.dumps(said)).value == pytest.approx(2 / 5)


@pytest.mark.parametrize("kind", ["ndcg", "mrr", "pairwise_order"])
def test_naming_less_or_other_things_is_never_better(kind: str) -> None:
    scorer, row = load(kind), _row(["a", "b", "c"])

    def value(*said: str) -> float:
        found = scorer(row, json.dumps(said)).value
        assert found is not None
        return found

    assert value("a", "b", "c") == 1.0
    assert value("b") <= value("b", "a", "c")
    assert value("x", "b") <= value("b")
    assert value("c", "c", "c", "a", "b") == value("c", "a", "b")
    assert value() == 0.0
    assert scorer(row, "a, b, c").details["reason"].startswith("not a list of items")


@pytest.mark.parametrize(
    ("wanted", "word"), [(["a"], "no order"), (["a", "a"], "twice"), ({"a": 1, "b": 1}, "no order"), ({"a": -1, "b": 1}, "from 0")]
)
def test_a_row_without_an_order_is_the_users_error(wanted: object, word: str) -> None:
    with pytest.raises(UserError, match=f"must have a JSON list of at least two items.*{word}.*line 1"):
        load("ndcg")(_row(wanted), "[]")


def test_the_first_places_alone_have_a_name_of_their_own() -> None:
    assert (load("ndcg").name, load({"kind": "ndcg", "k": 5}).name) == ("ndcg", "ndcg_at_5")
