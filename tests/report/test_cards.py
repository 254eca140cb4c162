"""Cards have every section, valid front matter, and no text that breaks out of its place."""

from __future__ import annotations

import re

import pytest
import yaml
from markdown_it import MarkdownIt

from luthier.report.cards import data_card, model_card
from luthier.report.markdown import code, safe, table, verdict_comment
from luthier.report.model import RunReport
from luthier.report.sections import SplitCount

MODEL = ["Purpose", "Data", "Training", "Results", "Robustness", "Limits", "Bias", "How to load it", "How to reproduce it", "Licence"]
DATA = ["Sources and licences", "What became of the rows", "Splits", "Classes", "Lengths", "Findings", "Limits"]


def front_matter(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_sections(rich: RunReport, minimal: RunReport) -> None:
    for report in (rich, minimal):
        assert re.findall(r"^## (.+)$", model_card(report), re.M) == MODEL
        assert re.findall(r"^## (.+)$", data_card(report), re.M) == DATA


def test_the_data_card_shows_the_right_to_use_each_source(rich: RunReport, minimal: RunReport) -> None:
    source = rich.data.sources[0].model_copy(update={"allows": "any use", "consent": "not_needed", "provenance": "our | shop"})
    report = rich.model_copy(
        update={
            "data": rich.data.model_copy(update={"sources": (source,)}),
            "objective": rich.objective.model_copy(update={"use": "commercial, not passed on"}),
        }
    )
    card = data_card(report)
    assert "Intended use: commercial, not passed on." in card
    assert "| data/banking.csv | any use | not needed | our \\| shop | none stated |" in card
    assert "Intended use: not stated." in data_card(minimal)
    assert "- Intended use: commercial, not passed on" in model_card(report)


def test_front_matter_is_the_fields_own(rich: RunReport) -> None:
    found = front_matter(model_card(rich))
    assert found["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert found["library_name"] == "peft"
    assert found["license"] == "apache-2.0"
    assert found["metrics"] == ["accuracy"]
    index = found["model-index"]
    assert isinstance(index, list)
    assert index[0]["results"][0]["metrics"][0]["value"] == pytest.approx(rich.verdict.tuned, abs=1e-6)


@pytest.mark.parametrize("name", ['x"\n---\nevil: 1', "a: b # c", "\x85\u2028\u2029\x7f", "🏦 日本語", "'", "- x", "null", "{{x}}"])
def test_front_matter_holds_any_name(name: str, rich: RunReport) -> None:
    report = rich.model_copy(update={"run": rich.run.model_copy(update={"name": name, "project": name})})
    found = front_matter(model_card(report))
    index = found["model-index"]
    assert isinstance(index, list)
    assert index[0]["name"] == name
    assert set(found) == {"base_model", "library_name", "pipeline_tag", "license", "tags", "metrics", "model-index"}


def test_results_have_intervals_and_bias_is_not_hidden(rich: RunReport, minimal: RunReport) -> None:
    card = model_card(rich)
    assert "88.3% (83.7 to 91.8%)" in card
    assert "+21.7 points (+15.3 to +28.0)" in card
    for report in (rich, minimal):
        assert "**not measured**" in model_card(report)
    assert "not recorded" in data_card(minimal)
    assert "not measured" in data_card(minimal)


def test_loading_code_is_python(rich: RunReport) -> None:
    quoted = rich.model_copy(update={"model": rich.model.model_copy(update={"adapter": 'a"; import os\n```'})})
    for report in (rich, quoted):
        blocks = re.findall(r"^```python\n(.*?)^```$", model_card(report), re.M | re.S)
        assert len(blocks) == 1
        compile(blocks[0], "card", "exec")
        assert "\nimport os" not in blocks[0]


def test_data_card_counts(rich: RunReport) -> None:
    card = data_card(rich)
    assert "| clean | 910 | 896 | 11 | 0 | 3 | 11 changed: broken encoding repaired; 3 dropped: text is empty |" in card
    assert "| card\\_arrival | 50 | 5 | 20 |" in card
    assert "CC BY 4.0" in card


def test_a_class_that_a_split_lacks_counts_zero(minimal: RunReport) -> None:
    splits = (SplitCount(split="train", num_rows=3, classes={"a": 2, "b": 1}), SplitCount(split="test", num_rows=1, classes={"a": 1}))
    card = data_card(minimal.model_copy(update={"data": minimal.data.model_copy(update={"splits": splits})}))
    assert "| b | 1 | 0 |" in card


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "a | b\nc", "[x](http://evil)", "![x](y)", "**b** `c` _d_", "@everyone", "www.evil.org"]
)
def test_safe_text_has_no_markup_left(text: str) -> None:
    out = safe(text)
    assert "\n" not in out
    assert "<" not in out
    assert not re.search(r"(?<!\\)[|\[\]`*_]", out)
    assert "://" not in out
    assert "@e" not in out
    assert "www." not in out


@pytest.mark.parametrize("text", ["plain", "a `b` c", "``", "x\ny"])
def test_code_holds_any_text(text: str) -> None:
    out = code(text)
    fence = re.match(r"`+", out)
    assert fence is not None
    inner = out[len(fence.group()) : -len(fence.group())]
    assert fence.group() not in inner
    assert " ".join(text.split()) in inner


def test_rendered_cards_hold_no_foreign_html(rich: RunReport) -> None:
    bad = "<script>alert(1)</script> [go](javascript:alert(1)) ![i](http://evil/x.png) `c` | x"
    finding = rich.data.findings[0].model_copy(update={"text": bad, "where": bad})
    step = rich.data.ledger[0].model_copy(update={"step": bad})
    report = rich.model_copy(
        update={
            "data": rich.data.model_copy(update={"findings": (finding,), "ledger": (step,)}),
            "objective": rich.objective.model_copy(update={"goal": bad, "affected": (bad,)}),
            "run": rich.run.model_copy(update={"name": bad, "commands": (bad,)}),
            "limits": (bad,),
        }
    )
    for card in (model_card(report), data_card(report), verdict_comment(report)):
        body = (
            MarkdownIt("commonmark", {"html": True}).enable("table").render(card.split("---\n", 2)[-1] if card.startswith("---") else card)
        )
        assert not re.search(r"<(script|img|a)\b", body)
        assert "alert(1)" in body


def test_table_has_one_line_a_row() -> None:
    assert table(("a", "b"), [["1", "2"]]).splitlines() == ["| a | b |", "|---|---|", "| 1 | 2 |"]


def test_comment_for_a_pull_request(rich: RunReport, minimal: RunReport) -> None:
    comment = verdict_comment(rich)
    assert comment.startswith("**Better** (run 7, banking-intents): The tuned model is better")
    assert "p < 0.001 (exact McNemar, two-sided), n = 240" in comment
    assert "| accuracy | 66.7% (60.5 to 72.3%) | 88.3% (83.7 to 91.8%) | +21.7 points (+15.3 to +28.0) |" in comment
    assert "`luthier run luthier.yaml`" in comment
    assert verdict_comment(minimal).startswith("**Not proven**")
