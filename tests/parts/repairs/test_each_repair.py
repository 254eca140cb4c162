"""Each repair: what it mends, and what it must leave alone."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.errors import MachineError
from luthier.parts.checks.contract import TextCheck
from luthier.parts.checks.discover import find_checks
from luthier.parts.repairs.loading import load_repair

MENDED = {
    "mojibake": [
        ("cafÃ©", "café"),
        ("â€œhelloâ€\x9d", "“hello”"),
        ("It â\x80\x99s", "It ’s"),
        ("ÃƒÂ© twice", "é twice"),
        ("naïve is right\ncafÃ© is not", "naïve is right\ncafé is not"),
        ("日本語\x85cafÃ©", "日本語\x85café"),
    ],
    "control_characters": [
        ("a\0b\x7f", "ab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("one\x0cpage", "one\npage"),
        ("\ud83d\ude00 and \ud83d", "😀 and "),
    ],
    "unicode": [("Cafe\u0301", "Café"), ("\u212b", "Å")],
    "invisible": [
        ("pass\u200bword\ufeff", "password"),
        ("soft\u00adhyphen", "softhyphen"),
        ("user\u202e\u2066// admin\u2069\u2066", "user// admin"),
        ("hello\U000e0041\U000e0042", "hello"),
        ("a\u200db", "ab"),
    ],
    "white_space": [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("one\u00a0two \t\nthree  ", "one two\nthree"),
        ("\n\na\n\n\n\nb\n", "a\n\nb"),
        (" positive", "positive"),
    ],
    "end_of_text": [
        ("A summary.<|endoftext|>", "A summary."),
        ("yes <|im_end|>\n<|endoftext|> \n", "yes"),
        ("done</s>" + " " * 150 + "</s>", "done"),
    ],
    "html": [
        ("<p>Hello <b>you</b></p><p>World</p>", "Hello you\nWorld"),
        ("Tom &amp; Jerry&nbsp;&eacute; &#39;x&#39;", "Tom & Jerry é 'x'"),
        ("line<br/>next <br> third", "line\nnext\n third"),
        ("before<script>alert('<p>')</script>after", "before\nafter"),
        ('see <a href="https://x.org">this</a>', "see this"),
        ("a <!-- hidden --> b", "a  b"),
        ("<td>1</td><td>2</td>", "1 2"),
        ("3 &lt; 5 &amp;&amp; x", "3 < 5 && x"),
        ("<p>Map<K, V> stays</p>", "Map<K, V> stays"),
    ],
}
LEFT = {
    "end_of_text": ["<|endoftext|> stands between documents", "<|endoftext|>", "plain ", "a </s> b", "x<end"],
    "mojibake": ["café", "Ça va? Ñandú", "ÀÉÎÕÜ", "next\x85line", "العربية", "50 €"],
    "control_characters": ["tab\tand\nline\r\n", "a\u2028b\x85c", "[31m"],
    "unicode": ["x²", "ﬁ", "１２"],
    "invisible": [
        "👩\u200d👩\u200d👧",
        "می\u200cخواهم",
        "क्\u200dष",
        "שלום\u200f (a)",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "❤️",
    ],
    "white_space": ["def f():\n    return 1", "  indented", "a  b", "全角\u3000空白", "a\n\nb"],
    "html": [
        "if a < b and c > d",
        "List<String> x = new ArrayList<>();",
        "<name> is a placeholder",
        "a<b>c",
        "Use the &lt;b&gt; tag",
        "```html\n<p>x</p>\n```",
        "the `<br>` tag",
        "$a<b>c$ and \\(x &lt; y\\)",
        "<!DOCTYPE html><html><p>x</p></html>",
        "AT&T and Q&A; &unknown; &copy",
        "a <b and c> d",
        "<3",
    ],
}


@pytest.mark.parametrize(("kind", "before", "after"), [(k, b, a) for k, pairs in MENDED.items() for b, a in pairs])
def test_what_is_mended(kind: str, before: str, after: str) -> None:
    assert load_repair(kind)(before) == after


@pytest.mark.parametrize(("kind", "text"), [(k, t) for k, texts in LEFT.items() for t in texts])
def test_what_is_left_alone(kind: str, text: str) -> None:
    assert load_repair(kind)(text) == text


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_unicode_changes_the_form_and_never_the_meaning(text: str) -> None:
    assert unicodedata.normalize("NFD", load_repair("unicode")(text)) == unicodedata.normalize("NFD", text)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_white_space_moves_nothing_that_is_seen(text: str) -> None:
    assert load_repair("white_space")(text).split() == text.split()


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.characters(min_codepoint=0xA0, max_codepoint=0x2FF), min_size=1, max_size=40))
def test_what_the_check_finds_is_repaired_and_text_that_is_good_stays(text: str) -> None:
    """Good text that was decoded as Latin-1 by mistake comes back, whenever ftfy would say that it is broken."""
    from ftfy.badness import is_bad

    broken = text.encode().decode("latin-1")
    if not is_bad(text) and is_bad(broken.replace("\x85", "\n")) and "\x85" not in broken:
        assert find_checks(TextCheck)["control_characters"](load_repair("mojibake")(broken)).passed
        assert load_repair("mojibake")(broken) in (text, load_repair("mojibake")(text))


def test_options_of_unicode_and_white_space() -> None:
    assert load_repair({"kind": "unicode", "form": "NFKC"})("x² ﬁ １") == "x2 fi 1"
    assert load_repair({"kind": "white_space", "collapse": True, "blank_lines": 0})("a  b\n\n    c   d") == "a b\n    c d"


def test_mojibake_without_its_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert load_repair("mojibake")("plain ascii") == "plain ascii"
    with pytest.raises(MachineError, match="needs ftfy"):
        load_repair("mojibake")("café")
