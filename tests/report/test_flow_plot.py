"""The ledger as a flow diagram: bands in proportion, well-formed, and its numbers in words."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from luthier.report.flow_plot import flow_chart
from luthier.report.sections import LedgerStep

SVG = "{http://www.w3.org/2000/svg}"
STEPS = (
    LedgerStep(step="reading", kept=900, set_aside=100),
    LedgerStep(step="<repairs>", kept=500, changed=200, set_aside=150, dropped=50),
)


@pytest.mark.parametrize("width", [640, 330])
def test_bands_are_in_proportion_and_inside(width: int) -> None:
    root = ET.fromstring(flow_chart(STEPS, width))
    assert (root.get("width"), root.get("role")) == (str(width), "img")
    said = root.findtext(f"{SVG}desc") or ""
    assert said == "reading: 1,000 rows, 100 set aside; <repairs>: 900 rows, 150 set aside, 50 dropped; left: 700 rows"
    bars = [float(r.get("height", 0)) for r in root.findall(f"{SVG}rect") if r.get("width") == "6"]
    assert bars == pytest.approx([90, 81, 63])
    assert len(root.findall(f"{SVG}path")) == 5  # a band on from each step, one down for each way out
    assert all(0 <= float(t.get("x", -1)) <= width for t in root.findall(f"{SVG}text"))


def test_nothing_to_draw_and_rows_that_are_all_gone() -> None:
    assert flow_chart((), 640) == ""
    assert flow_chart((LedgerStep(step="reading"),), 640) == ""
    root = ET.fromstring(flow_chart((LedgerStep(step="reading", dropped=3),), 640))
    assert len(root.findall(f"{SVG}path")) == 1
