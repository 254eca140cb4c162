"""Should you fine-tune? Planted tables, each with the decision that its figures call for."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.stages.choose.bench import BenchPlan, BenchRow, BenchTable, Family, in_words, letter, pareto, ranked
from luthier.stages.choose.decide import Decision, decide
from luthier.stats.groups import compare_all

N = 200
LATENCY = {"big, zero-shot": 900.0, "big, few-shot": 4000.0, "big, tuned": 900.0, "small, tuned": 9.0, "TF-IDF": 0.5, "constant": 0.1}
METHODS = {"big, tuned": "lora of rank 16", "small, tuned": "lora of rank 8"}


def family(name: str) -> Family:
    return "tuned" if "tuned" in name else "prompted" if "shot" in name else "classical"


def table(shares: dict[str, float], training: int = 600) -> BenchTable:
    """Candidates with the given shares right, which err on the same hard rows: differences of a few points can be told apart."""
    from dataclasses import asdict

    scores = {name: (np.arange(N) < round(share * N)).astype(float) for name, share in shares.items()}
    comparison = compare_all(scores)
    rows = [
        BenchRow(
            name=name,
            family=family(name),
            base=name.split(",")[0] if "," in name else None,
            value=share,
            low=max(0.0, share - 0.05),
            high=min(1.0, share + 0.05),
            latency_ms=LATENCY[name],
            latency_low=LATENCY[name],
            latency_high=LATENCY[name],
            peak_memory_mb=100,
            size_mb=10,
            energy_wh_per_1000=1,
            cost_per_1000=0.25,
            train_seconds=60,
            tokens_per_character=None,
            context_length=None,
            licence="Apache-2.0",
        )
        for name, share in shares.items()
    ]
    return BenchTable(
        metric="accuracy",
        num_rows=N,
        num_training_rows=training,
        alpha=0.05,
        machine="m",
        measured="2026-01-01",
        rows=ranked(rows, comparison),
        pairs=tuple(asdict(p) for p in comparison.pairs),
        groups=comparison.groups,
        words=in_words(comparison, rows, "accuracy"),
    )


BASIC = {"constant": 0.1, "TF-IDF": 0.6, "big, zero-shot": 0.5, "big, tuned": 0.9}


def decided(shares: dict[str, float], plan: BenchPlan | None = None, training: int = 600) -> Decision:
    return decide(table(shares, training), plan or BenchPlan(), METHODS)


def test_few_rows_are_told_first() -> None:
    got = decided(BASIC, training=99)
    assert (got.answer, got.reason, got.use) == ("no", "few rows", "TF-IDF")
    assert "99 training rows" in got.words[0]
    assert decided(BASIC, training=100).answer == "yes"


def test_a_base_that_meets_the_bar_needs_no_tuning() -> None:
    shares = {**BASIC, "big, zero-shot": 0.86, "big, few-shot": 0.88}
    got = decided(shares, BenchPlan(at_least=0.8))
    assert (got.answer, got.reason, got.use) == ("no", "bar met", "big, zero-shot")  # the faster of the two that meet it
    assert "0.860, 0.810 to 0.910" in got.words[0]
    assert decided(shares, BenchPlan(at_least=0.84)).reason != "bar met"  # the lower end is what counts


def test_a_classical_model_that_is_as_good_wins() -> None:
    got = decided({**BASIC, "TF-IDF": 0.895})
    assert (got.answer, got.reason, got.use) == ("no", "classical as good", "TF-IDF")
    assert "is not proven better than TF-IDF" in got.words[0]
    assert "0.5 ms" in got.words[1]
    assert "is worse than TF-IDF" in decided({**BASIC, "TF-IDF": 0.99}).words[0]


def test_a_prompt_that_is_as_good_leaves_it_not_proven() -> None:
    got = decided({**BASIC, "big, zero-shot": 0.89})
    assert (got.answer, got.reason, got.use) == ("not proven", "not proven", "big, zero-shot")
    assert got.method is None


def test_a_gain_that_is_not_worth_it() -> None:
    got = decided(BASIC, BenchPlan(worth=0.5))
    assert (got.answer, got.reason) == ("no", "not worth it")
    assert "50 points" in got.words[0]


def test_a_metric_that_is_no_share_is_not_told_in_points() -> None:
    counted = table(BASIC).model_copy(update={"unit": "number"})
    got = decide(counted, BenchPlan(worth=0.5), METHODS)
    assert got.reason == "not worth it"
    assert "less than the 0.5 that are worth it" in got.words[0]
    yes = decide(counted, BenchPlan(), METHODS)
    assert yes.answer == "yes"
    assert all("point" not in words for words in (*got.words, *yes.words))


def test_a_proven_gain_is_a_yes_with_base_method_size_and_cost() -> None:
    got = decided({**BASIC, "small, tuned": 0.895})
    assert (got.answer, got.reason, got.use, got.method) == ("yes", "better", "small, tuned", "lora of rank 8")
    text = " ".join(got.words)
    assert "better than the best untuned candidate, TF-IDF" in text
    assert "cannot be told apart from big, tuned" in text  # so the faster one is recommended
    assert "0.25 in money" in text
    assert "adjusted p below 0.001" in text


def test_a_larger_base_that_is_proven_better_is_recommended() -> None:
    got = decided({**BASIC, "small, tuned": 0.75})
    assert got.use == "big, tuned"
    assert any("It is better than small, tuned" in w for w in got.words)


def test_a_bar_that_the_tuned_model_does_not_reach_is_said() -> None:
    got = decided(BASIC, BenchPlan(at_least=0.95))
    assert got.answer == "yes"
    assert "bar of 0.95 is not yet proven" in got.words[-1]


def test_a_licence_that_stands_against_the_recommendation_is_said() -> None:
    got = table(BASIC)
    reason = "its licence CC-BY-NC-4.0 does not allow commercial use"
    rows = tuple(r.model_copy(update={"fits_use": False, "licence_fit": reason}) if r.name == "big, tuned" else r for r in got.rows)
    words = decide(got.model_copy(update={"rows": rows}), BenchPlan(), METHODS).words
    assert words[-1] == f"Mind its licence: of big, {reason} (objective.use)."
    assert "Mind its licence" not in " ".join(decided(BASIC).words)


def test_without_a_tuned_candidate_nothing_is_claimed() -> None:
    got = decided({k: v for k, v in BASIC.items() if "tuned" not in k})
    assert (got.answer, got.reason, got.use) == ("not proven", "nothing tuned", "TF-IDF")


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    rows = table({**BASIC, "small, tuned": 0.75, "big, few-shot": 0.55}).rows
    slow = {a.name for a in rows if any(b.value >= a.value and b.latency_ms < a.latency_ms for b in rows)}
    assert pareto(rows) == {"constant", "TF-IDF", "small, tuned", "big, tuned"}
    assert pareto(rows) & slow == set()


def test_groups_have_letters_and_words() -> None:
    got = table({**BASIC, "small, tuned": 0.895})
    assert [r.group_letters for r in got.rows] == ["a", "a", "b", "c", "d"]
    assert got.words[0] == "big, tuned has the highest accuracy: 0.900 (0.850 to 0.950 on 200 rows)"
    assert "big, tuned and small, tuned cannot be told apart on these 200 rows" in got.words
    assert got.words[-1].endswith("small, tuned is the fastest: 100 times as fast as big, tuned")
    assert [letter(i) for i in (0, 25, 26)] == ["a", "z", "A"]


def test_a_pair_is_the_same_from_both_sides() -> None:
    got = table(BASIC)
    there, back = got.pair("big, tuned", "TF-IDF"), got.pair("TF-IDF", "big, tuned")
    assert there["effect"] == pytest.approx(0.3) == -back["effect"]
    assert (back["low"], back["high"]) == (-there["high"], -there["low"])
    with pytest.raises(KeyError):
        got.pair("TF-IDF", "nobody")
