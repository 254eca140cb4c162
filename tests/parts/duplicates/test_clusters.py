"""Clusters of records: which rows are copies, which one stays, and what a prompt template must not do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_twin import true_jaccard

from luthier.core.records import Example, Message, Preference, Rating, Record, Source, Text
from luthier.parts.checks.contract import RecordsCheck
from luthier.parts.checks.discover import find_checks
from luthier.parts.checks.near_duplicates import NearDuplicates
from luthier.parts.duplicates.text import normalised_text, plain_text, without_frame

ASK = "Could you tell me when the new card that I ordered last week will arrive at my home"


def text(words: str, i: int = 0, weight: float = 1.0) -> Text:
    return Text(words, Source("f.jsonl", f"line {i + 1}"), weight=weight)


def asked(words: str, answer: str, label: str | None = None, system: str = "") -> Example:
    turns = [Message("system", system)] if system else []
    return Example((*turns, Message("user", words), Message("assistant", answer)), Source("f", "line 1"), label=label)


def kinds(records: list[Record], check: NearDuplicates | None = None) -> dict[int, tuple[str, int]]:
    return {c.row: (c.kind, c.of) for k in (check or NearDuplicates()).clusters(records) for c in k.copies}


def test_each_kind_is_named_and_the_longest_row_stays() -> None:
    rows = [text(ASK), text("something else"), text(ASK), text(ASK.upper() + "!"), text(ASK + " please"), text("another thing")]
    assert kinds(list(rows)) == {0: ("near", 4), 2: ("near", 4), 3: ("near", 4)}
    assert kinds(list(rows), NearDuplicates(keep="first")) == {2: ("exact", 0), 3: ("normalised", 0), 4: ("near", 0)}


def test_the_heaviest_row_stays_when_asked() -> None:
    rows: list[Record] = [text(ASK), text(ASK + " please", weight=0.5), text(ASK + "?", weight=2.0)]
    assert {of for _, of in kinds(rows, NearDuplicates(keep="heaviest")).values()} == {2}


def test_findings_name_the_row_that_stays_and_how_alike_it_is() -> None:
    rows: list[Record] = [text(ASK, 0), text(ASK + " now", 1), text(ASK + " now", 2)]
    found = NearDuplicates()(rows)
    assert [(f.row, f.others) for f in found] == [(0, (1,)), (2, (1,))]
    jaccard = true_jaccard(normalised_text(ASK), normalised_text(ASK + " now"))
    assert found[0].score == jaccard
    assert found[0].reason == f"near duplicate of f.jsonl line 2 (Jaccard {jaccard:.2f})"
    assert found[1].reason == "exact duplicate of f.jsonl line 2"
    assert isinstance(find_checks(RecordsCheck)["near_duplicates"], NearDuplicates)


def test_a_chain_never_removes_a_row_that_no_kept_row_resembles() -> None:
    base = "the quick brown fox jumps over the lazy dog and runs into the deep dark forest to find its friends again"
    rows: list[Record] = [text(base[4 * i : 60 + 4 * i], i) for i in range(8)]
    (cluster,) = NearDuplicates(keep="first").clusters(rows)
    assert cluster.size == 8
    assert len(cluster.kept) > 1
    for copy in cluster.copies:
        assert copy.of in cluster.kept
        plain = [normalised_text(rows[i].text) for i in (copy.row, copy.of)]  # type: ignore[union-attr]
        assert copy.likeness == true_jaccard(*plain) >= 0.8


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (asked(ASK, "late", "late"), asked(ASK + " please", "card", "card")),
        (asked("Add 5 and 7 for me, please, and say the sum", "12"), asked("Add 5 and 9 for me, please, and say the sum", "12")),
        (Rating((Message("user", ASK),), (Message("assistant", "soon"),), True, Source("f", "1")),
         Rating((Message("user", ASK),), (Message("assistant", "soon"),), False, Source("f", "2"))),
        (asked(ASK, "soon"), Example((Message("assistant", ASK), Message("assistant", "soon")), Source("f", "2"))),
        (asked("Is it on its way?", ASK), asked("What did the customer of yesterday want to know?", ASK)),
    ],
)  # fmt: skip
def test_what_is_never_a_copy(a: Record, b: Record) -> None:
    assert kinds([a, b]) == {}


def test_prompts_alone_when_asked_and_numbers_when_told() -> None:
    rows: list[Record] = [asked(ASK, "late", "late"), asked(ASK + " please", "card", "card")]
    assert kinds(rows, NearDuplicates(same="prompt")) == {0: ("near", 1)}
    dated: list[Record] = [
        text("Report of the third regular meeting of the whole board of directors, 12 May"),
        text("Report of the third regular meeting of the whole board of directors, 13 May"),
    ]
    assert kinds(dated) == {}
    assert kinds(dated, NearDuplicates(numbers=False)) == {1: ("near", 0)}


def test_preferences_are_compared_whole() -> None:
    def pair(chosen: str, rejected: str) -> Preference:
        return Preference((Message("user", "q"),), (Message("assistant", chosen),), (Message("assistant", rejected),), Source("f", "1"))

    assert kinds([pair(ASK, "no"), pair(ASK + " please", "no")]) == {0: ("near", 1)}
    assert kinds([pair(ASK, "no"), pair(ASK, "a wholly different and rather long answer that was rejected")]) == {}


def test_a_prompt_template_around_every_row_does_not_make_them_alike() -> None:
    system = "Classify the message into exactly one intent and answer with its name only. Intents: " + ", ".join(
        f"intent {c}" for c in "abcdefghij"
    )
    words = [
        "card",
        "cash",
        "fee",
        "loan",
        "visa",
        "pin",
        "app",
        "rate",
        "refund",
        "limit",
        "iban",
        "atm",
        "euro",
        "debit",
        "top",
        "lost",
        "old",
        "new",
        "late",
        "gone",
    ]
    rows: list[Record] = [asked(f"Where is my {w}", "x", "x", system) for w in words]
    assert kinds(rows) == {}
    copies: list[Record] = [asked(ASK, "x", "x", system), asked(ASK + " now", "x", "x", system)]
    assert kinds(rows + copies) == {20: ("near", 21)}


def test_the_frame_is_whole_words_and_needs_twenty_rows() -> None:
    texts = [f"say the word w{chr(97 + i)}x once more" for i in range(20)]
    assert without_frame(texts) == [f"w{chr(97 + i)}x" for i in range(20)]
    assert without_frame(texts[:19]) == texts[:19]
    assert without_frame(["a b"] * 19 + ["a c"]) == ["b"] * 19 + ["c"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="ab ,É", max_size=12), max_size=12), st.sampled_from(["longest", "first", "heaviest"]))
def test_every_row_stays_or_goes_once_and_goes_only_for_one_that_stays(texts: list[str], keep: str) -> None:
    records: list[Record] = [text(t, i, weight=1.0 + i % 3) for i, t in enumerate(texts)]
    found = NearDuplicates(keep=keep).clusters(records)  # type: ignore[arg-type]
    rows = [i for c in found for i in (*c.kept, *(x.row for x in c.copies))]
    assert len(rows) == len(set(rows))
    assert all(c.kept and c.copies and {x.of for x in c.copies} <= set(c.kept) for c in found)
    assert found == NearDuplicates(keep=keep).clusters(records)  # type: ignore[arg-type]
    staying = [i for i in range(len(texts)) if i not in {x.row for c in found for x in c.copies}]
    assert len({plain_text(records[i], "row") for i in staying}) == len(staying)
