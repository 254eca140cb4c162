"""The page stands alone, trusts no text, says the verdict first, and says what was not measured."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from lxml import html

from luthier.core.errors import MachineError
from luthier.report import numbers, page
from luthier.report.model import RunReport

SECTIONS = [
    "verdict", "objective", "bars", "results", "robustness", "classes", "errors", "samples", "data",
    "lengths", "training", "side-effects", "cost", "lineage", "reproduce", "limits",
]  # fmt: skip


@pytest.fixture(scope="module")
def rich_page(rich: RunReport) -> str:
    return page.render_page(rich)


@pytest.fixture(scope="module")
def minimal_page(minimal: RunReport) -> str:
    return page.render_page(minimal)


def text_of(node: html.HtmlElement) -> str:
    return " ".join(node.text_content().split())


def test_the_verdict_comes_first(rich: RunReport, rich_page: str) -> None:
    main = html.fromstring(rich_page).find(".//main")
    heading = main.find(".//h1")
    assert text_of(heading) == numbers.verdict_sentence(rich)
    assert next(main.iterchildren()).get("id") == "verdict"
    first = text_of(next(main.iterchildren()))
    for figure in ("+21.7 points", "95% interval +15.3 to +28.0", "p < 0.001", "n = 240", "exact McNemar", "+8.3 points"):
        assert figure in first


def test_every_section_is_there_and_in_the_contents(rich_page: str, minimal_page: str) -> None:
    for text in (rich_page, minimal_page):
        tree = html.fromstring(text)
        assert [a.get("href") for a in tree.findall(".//nav//a")] == [f"#{s}" for s in SECTIONS]
        assert [n.get("id") for n in tree.find(".//main") if n.tag in ("header", "section")] == SECTIONS


def test_it_is_self_contained(rich_page: str, minimal_page: str) -> None:
    for text in (rich_page, minimal_page):
        tree = html.fromstring(text)
        for node in tree.iter():
            if not isinstance(node.tag, str):
                continue
            assert node.tag not in {"link", "iframe", "object", "embed", "base", "form", "img", "audio", "video"}
            for name, value in node.attrib.items():
                if name in {"src", "srcset", "action", "poster", "data", "xlink:href"}:
                    raise AssertionError(f"{node.tag} loads {value}")
                assert name != "href" or value.startswith(("#", "data:text/csv")), value
        assert "url(http" not in text
        assert "@import" not in text


def test_strict_policy_matches_the_one_script(rich_page: str) -> None:
    tree = html.fromstring(rich_page)
    policy = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    scripts = tree.findall(".//script")
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_hostile_text_is_shown_and_never_run(rich_page: str) -> None:
    tree = html.fromstring(rich_page)
    assert len(tree.findall(".//script")) == 1
    assert tree.findall(".//img") == []
    assert not [n for n in tree.iter() if isinstance(n.tag, str) and any(a.startswith("on") for a in n.attrib)]
    shown = text_of(tree.get_element_by_id("errors"))
    assert """<script>alert("row 17")</script><img src=x onerror=alert(1)> {{ 7*7 }} "quoted" & 'single' 日本語 🏦""" in shown
    assert "49" not in re.findall(r"\d+", shown.split("row 17")[1][:60])


def test_hostile_names_everywhere(rich: RunReport) -> None:
    bad = "<svg onload=alert(1)>\"'</title></style></script>"
    report = rich.model_copy(
        update={
            "run": rich.run.model_copy(update={"name": bad, "commands": (bad,)}),
            "objective": rich.objective.model_copy(update={"goal": bad, "metric": bad}),
            "model": rich.model.model_copy(update={"base": bad, "adapter": bad}),
            "verdict": rich.verdict.model_copy(update={"metric": bad, "test": bad}),
            "limits": (bad,),
        }
    )
    tree = html.fromstring(page.render_page(report))
    assert len(tree.findall(".//script")) == 1
    assert len(tree.findall(".//style")) == 1
    assert not [n for n in tree.iter() if isinstance(n.tag, str) and "onload" in n.attrib]
    assert bad in text_of(tree.find(".//h1"))


def test_every_metric_has_its_interval(rich_page: str) -> None:
    tree = html.fromstring(rich_page)
    for section in ("results", "robustness", "classes"):
        for cell in tree.xpath(f"//section[@id='{section}']//td[contains(@class,'num')]"):
            said = text_of(cell)
            if "%" in said or "." in said:
                assert re.search(r"\(.+ to .+\)$", said), said


def test_intervals_name_their_method(rich_page: str) -> None:
    assert "intervals in brackets (95%: Wilson, Wald, paired)" in rich_page


def test_what_was_not_measured_is_said(rich_page: str, minimal_page: str) -> None:
    tree = html.fromstring(minimal_page)
    for section in ("results", "robustness", "classes", "errors", "samples", "data", "lengths", "training", "cost", "lineage", "reproduce"):
        said = text_of(tree.get_element_by_id(section))
        assert re.search(r"not measured|not recorded|were kept|were recorded", said), section
    assert "Bias towards groups of people was not measured" in minimal_page
    assert "Bias towards groups of people was not measured" in rich_page
    assert "None" not in text_of(tree.find(".//main"))


def test_side_effects_and_answers_during_training_are_shown(rich_page: str, minimal_page: str) -> None:
    tree = html.fromstring(rich_page)
    effects = text_of(tree.get_element_by_id("side-effects"))
    for said in ("The model has forgotten part", "+0.157", "What do bees <i>make</i>?", "20 canaries seen 5 times", "100 planted rows"):
        assert said in effects, said
    training = text_of(tree.get_element_by_id("training"))
    for said in ("The rows have taught what they can", "train.epochs: 0.9", "0: I do not know", "60: card_linking", "<b>It</b> never came"):
        assert said in training, said
    assert "Forgetting and memorisation: not measured" in text_of(html.fromstring(minimal_page).get_element_by_id("side-effects"))


def test_several_looks_are_pointed_out(minimal_page: str, rich_page: str) -> None:
    assert "looked at 2 times; each look makes a chance finding likelier" in minimal_page
    assert "looked at once" in rich_page


def test_long_texts_are_folded_and_whole(rich: RunReport, rich_page: str) -> None:
    long = next(a for a in rich.evaluation.errors if len(a.prompt) > 500)
    folded = [text_of(n) for n in html.fromstring(rich_page).xpath("//details//div[@class='full']")]
    assert " ".join(long.prompt.split()) in folded


def test_many_classes_fold_their_table(rich: RunReport, rich_page: str) -> None:
    many = tuple(rich.evaluation.classes[0].model_copy(update={"label": f"class_{i}"}) for i in range(77))
    text = page.render_page(rich.model_copy(update={"evaluation": rich.evaluation.model_copy(update={"classes": many})}))
    assert "Table of all 77 classes" in text
    assert "Table of all" not in rich_page


def test_top_confusions_are_the_largest_wrong_cells(rich: RunReport) -> None:
    found, confusion = page.top_confusions(rich, most=100), rich.evaluation.confusion
    assert confusion is not None
    assert sum(n for _, _, n, _ in found) == 240 - sum(confusion.counts[i][i] for i in range(12))
    assert [n for _, _, n, _ in found] == sorted((n for _, _, n, _ in found), reverse=True)
    assert all(wanted != answered for wanted, answered, _, _ in found)


def test_dark_rules_cover_every_ink() -> None:
    assert set(page.DARK_INK) == set(page.plots.INK)
    rules = page.dark_charts()
    assert rules.strip().startswith("@media screen and (prefers-color-scheme:dark)")
    for light in page.plots.INK.values():
        assert f'[fill="{light}"]' in rules
        assert f'[stroke="{light}"]' in rules


def test_same_report_same_page(rich: RunReport, rich_page: str) -> None:
    assert page.render_page(rich) == rich_page


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, minimal: RunReport) -> None:
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None if name == "altair" else object())
    with pytest.raises(MachineError, match=r"altair.*luthier\[report\]"):
        page.render_page(minimal)


@pytest.mark.parametrize(("text", "start"), [("short", "short"), ("word " * 100, "word word"), ("x" * 500, "xxx")])
def test_first_words(text: str, start: str) -> None:
    cut = page.first_words(text)
    assert cut.startswith(start)
    assert len(cut) <= 152
