"""Language identification and repairs on real text: what they must find, and what they must leave as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.parts.checks.language import Language
from luthier.parts.repairs.loading import STANDARD, load_repair

MATHS = re.compile(r"\$\$[^$]+\$\$|(?<!\$)\$(?=\S)[^$\n]{0,300}?\S\$(?![\d$])")


@pytest.fixture(scope="module")
def pairs(shared_data: Path) -> list[dict[str, str]]:
    """English captions with their German translations."""
    lines = (shared_data / "tasks" / "multi30k_en_de_val.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def comments(shared_data: Path) -> list[str]:
    """Raw comments with links, LaTeX and code."""
    return (shared_data / "noisy" / "stackexchange_raw_comments.txt").read_text(encoding="utf-8").splitlines()


def share(texts: list[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, texts)) / len(texts)


def test_languages_are_told_apart(pairs: list[dict[str, str]], shared_data: Path) -> None:
    english, german = Language(), Language(languages=("de",))
    en, de = [p["en"] for p in pairs], [p["de"] for p in pairs]
    assert share(en, lambda t: english(t).passed) >= 0.99
    assert share(de, lambda t: german(t).passed) >= 0.99
    assert share(de, lambda t: not english(t).passed) >= 0.97
    assert share(en, lambda t: not german(t).passed) >= 0.97
    rows = (shared_data / "instruction" / "alpaca_zh_demo_sample.jsonl").read_text(encoding="utf-8").splitlines()
    chinese = [a for a in (json.loads(r)["output"] for r in rows) if sum("\u4e00" <= c <= "\u9fff" for c in a) > 20]
    assert share(chinese, lambda t: not english(t).passed) >= 0.95


def test_every_mojibake_sentence_is_read_as_it_was_written(pairs: list[dict[str, str]]) -> None:
    mend = load_repair("mojibake")
    german = [p["de"] for p in pairs if not p["de"].isascii()]
    assert len(german) > 300
    assert all(mend(t) == t for t in german)
    assert share(german, lambda t: mend(t.encode().decode("latin-1")) == t) >= 0.99
    windows = [t for t in german if not {"\x81", "\x8d", "\x8f", "\x90", "\x9d"} & set(t.encode().decode("latin-1"))]
    assert share(windows, lambda t: mend(t.encode().decode("cp1252")) == t) >= 0.99
    twice = [t.encode().decode("latin-1").encode().decode("latin-1") for t in german]
    assert sum(mend(t) == g for t, g in zip(twice, german, strict=True)) >= 0.99 * len(german)


def test_repairs_leave_code_and_mathematics_of_real_comments(comments: list[str]) -> None:
    for kind in STANDARD:
        repair = load_repair(kind)
        mended = [repair(c) for c in comments]
        assert all(repair(m) == m for m in mended), kind
        assert all(MATHS.findall(m) == MATHS.findall(c) for m, c in zip(mended, comments, strict=True)), kind
        if kind == "mojibake":
            assert mended == comments
        if kind == "html":
            words = [re.findall(r"\w+", c) for c in comments if "<" not in c and "&" not in c]
            assert [re.findall(r"\w+", m) for m, c in zip(mended, comments, strict=True) if "<" not in c and "&" not in c] == words


def test_clean_answers_are_nearly_all_left_alone(shared_data: Path) -> None:
    rows = (shared_data / "instruction" / "alpaca_en_demo.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(row)["output"] for row in rows]
    for kind in ("mojibake", "control_characters", "unicode", "invisible"):
        repair = load_repair(kind)
        assert sum(repair(a) == a for a in answers) >= 0.99 * len(answers), kind
