"""Which part of a row is changed: its own text, and neither the template around it nor the words of its answer."""

from __future__ import annotations

from luthier.core.records import Example, Message, Source
from luthier.parts.perturbations.casing import Casing
from luthier.parts.perturbations.rewording import Rewording
from luthier.stages.evaluate.perturb import perturbed, shared_edges


def row(text: str, answer: str = "lost", key: str = "k") -> Example:
    """A row of a template with words before and after its text."""
    asked = f"Name the topic of this message: {text} Answer with one label."
    turns = (Message("system", "Labels: lost, late"), Message("user", asked), Message("assistant", answer))
    return Example(turns, Source("rows.csv", "row 1"), id=key, key=key)


def test_the_words_that_all_rows_share_stay() -> None:
    rows = [row("my card is gone", key="a"), row("where is the money", key="b")]
    asked = [r.prompt[1].content for r in perturbed(rows, Casing())]
    assert asked[0] == "Name the topic of this message: MY CARD IS GONE Answer with one label."
    assert [r.key for r in perturbed(rows, Casing())] == ["a", "b"]
    assert all(r.prompt[0].content == "Labels: lost, late" and r.reference == "lost" for r in perturbed(rows, Casing()))


def test_the_words_of_the_answer_stay() -> None:
    rows = [row("my Lost card", "lost"), row("a late train", "late")]
    assert [r.prompt[1].content.split(": ")[1].split(" Answer")[0] for r in perturbed(rows, Casing())] == ["MY Lost CARD", "A late TRAIN"]


def test_rows_that_cannot_be_changed_are_left_out() -> None:
    rows = [row("I am late", key="a"), row("lost card", key="b")]
    assert [r.key for r in perturbed(rows, Rewording())] == ["a"]


def test_one_row_has_no_template() -> None:
    assert shared_edges(["one text"]) == ("", "")
    assert shared_edges(["the same", "the same"]) == ("", "")
    assert shared_edges(["ask: a b now", "ask: a c now"]) == ("ask: a ", " now")
    assert shared_edges(["card", "cart"]) == ("", "")


def test_only_the_last_user_turn_is_changed() -> None:
    turns = (Message("user", "I am first"), Message("assistant", "yes"), Message("user", "I am last"), Message("assistant", "lost"))
    changed = perturbed([Example(turns, Source("f", "1"), key="k")], Rewording())
    assert [m.content for m in changed[0].messages] == ["I am first", "yes", "I'm last", "lost"]
