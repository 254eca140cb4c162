"""Every chart is a well-formed, named SVG in the report's own inks, whatever the data says."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from luthier.report import plots
from luthier.report.model import RunReport
from luthier.report.page import charts, confusion_chart
from luthier.report.sections import Bin, Candidate, Confusion, CurvePoint, Estimate, LedgerStep

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\"'&]]> onload=x"


def parsed(svg: str):
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.attrib["role"] == "img"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text
    assert description is not None
    assert description.text
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
    for node in root.iter():
        assert node.tag.removeprefix(SVG) not in {"script", "image", "foreignObject", "a", "use"}
        assert not [name for name in node.attrib if name.startswith("on") or name.endswith("href")]
    return root


@pytest.mark.parametrize("width", [plots.WIDTH, plots.NARROW])
def test_all_charts_of_a_rich_report(rich: RunReport, width: int) -> None:
    drawn = charts(rich, width)
    assert list(drawn) == ["effect", "candidates", "lengths", "ledger", "reliability", "curve loss", "curve accuracy"]
    for svg in drawn.values():
        parsed(svg)
        assert float(ElementTree.fromstring(svg).attrib["width"]) >= width


def test_only_the_inks_are_used(rich: RunReport) -> None:
    allowed = {*plots.INK.values(), "none", "transparent"}
    for svg in [*charts(rich, plots.WIDTH).values(), confusion_chart(rich)]:
        used = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg))
        assert used <= allowed, used - allowed
        assert "style=" not in svg


def test_ids_of_two_charts_do_not_collide(rich: RunReport) -> None:
    found = [i for w in (plots.WIDTH, plots.NARROW) for svg in charts(rich, w).values() for i in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(found) == len(set(found))


def test_hostile_text_is_text() -> None:
    estimate = Estimate(value=0.5, low=0.4, high=0.6, n=10)
    for svg in (
        plots.confusion_chart(Confusion(labels=(HOSTILE, "b"), counts=((1, 2), (3, 4)))),
        plots.candidate_chart([Candidate(name=HOSTILE, role="baseline", split="test", metrics={HOSTILE: estimate})], HOSTILE, "share"),
        plots.ledger_chart([LedgerStep(step=HOSTILE, kept=3)]),
        plots.curve_chart([CurvePoint(step=i, split="train", name=HOSTILE, value=float(i)) for i in range(3)], HOSTILE, 1),
    ):
        root = parsed(svg)
        assert "alert(1)" in "".join(root.itertext())


def test_characters_that_xml_does_not_allow() -> None:
    labels = ("a\x00b", "c\x0b", "d\ud800", "\ufffe")
    counts = tuple(tuple(int(i == j) for j in range(4)) for i in range(4))
    parsed(plots.confusion_chart(Confusion(labels=labels, counts=counts)))
    parsed(plots.curve_chart([CurvePoint(step=1, split="train", name="l\x00", value=1.0)], "l\x00", None))


def test_figures_can_be_read_in_the_picture(rich: RunReport) -> None:
    drawn = {name: "".join(parsed(svg).itertext()) for name, svg in charts(rich, plots.WIDTH).items()}
    assert "88.3% (83.7 to 91.8%)" in drawn["candidates"]
    assert "best step 110" in drawn["curve loss"]
    assert "longest kept whole: 128" in drawn["lengths"]
    assert "clean: 11 changed, 3 dropped" in drawn["ledger"]


def test_confusion_shows_each_count(rich: RunReport) -> None:
    found = rich.evaluation.confusion
    assert found is not None
    texts = [n.text for n in parsed(confusion_chart(rich)).iter(f"{SVG}text")]
    wanted = sorted(str(n) for row in found.counts for n in row if n)
    assert sorted(t for t in texts if t and t.isdigit()) == wanted


@pytest.mark.parametrize("n", [1, 2, 12, 77])
def test_confusion_of_any_size(n: int) -> None:
    labels = tuple(f"a_rather_long_name_of_an_intent_number_{i}" for i in range(n))
    counts = tuple(tuple(5 if i == j else (i + j) % 7 == 0 for j in range(n)) for i in range(n))
    root = parsed(plots.confusion_chart(Confusion(labels=labels, counts=counts)))
    assert float(root.attrib["width"]) < 1100
    cells = [p for p in root.iter(f"{SVG}path") if p.get("fill") in (plots.INK["blue"], plots.INK["orange"]) and p.get("opacity")]
    assert len(cells) == sum(bool(x) for row in counts for x in row) + 2, "each cell that is not empty, and two in the legend"


def test_labels_that_are_alike_after_shortening_stay_apart() -> None:
    labels = ("x" * 60 + "a", "x" * 60 + "b", "")
    root = parsed(plots.confusion_chart(Confusion(labels=labels, counts=((9, 1, 0), (0, 8, 1), (0, 0, 7)))))
    digits = [n.text for n in root.iter(f"{SVG}text") if n.text and n.text.isdigit()]
    assert sorted(digits) == ["1", "1", "7", "8", "9"]


def test_a_row_of_no_class_is_drawn_empty() -> None:
    parsed(plots.confusion_chart(Confusion(labels=("a", "b"), counts=((0, 0), (1, 2)))))


def test_nothing_to_draw_is_no_chart() -> None:
    assert plots.curve_chart([], "loss", None) == ""
    assert plots.curve_chart([CurvePoint(step=1, split="train", name="loss", value=None)], "loss", None) == ""
    assert plots.candidate_chart([Candidate(name="a", role="baseline", split="test")], "accuracy", "share") == ""
    assert plots.length_chart([], 128) == ""
    assert plots.ledger_chart([]) == ""


@pytest.mark.parametrize(("effect", "interval"), [(0.0, (0.0, 0.0)), (-0.2, (-0.3, -0.1)), (0.2, (0.1, 0.3)), (1e-9, (-1.0, 1.0))])
def test_effect_of_any_sign(effect: float, interval: tuple[float, float]) -> None:
    for points in (True, False):
        assert "NaN" not in plots.effect_chart(effect, interval, points)
        parsed(plots.effect_chart(effect, interval, points))


def test_one_point_and_one_bin() -> None:
    parsed(plots.curve_chart([CurvePoint(step=0, split="validation", name="loss", value=1.0)], "loss", 0))
    parsed(plots.length_chart([Bin(low=0, high=1, num_rows=1)], 5000))
    parsed(plots.length_chart([Bin(low=0, high=8, num_rows=1)], None))
    parsed(plots.ledger_chart([LedgerStep(step="read")]))


def test_same_report_same_picture(rich: RunReport) -> None:
    assert charts(rich, plots.WIDTH) == charts(rich, plots.WIDTH)
