"""The plot of quality against latency: every candidate named, the front in words, alike each time."""

from __future__ import annotations

import itertools

import pytest
from lxml import etree

from luthier.report.pareto_plot import HEIGHT, LINE, Point, label_places, pareto_svg

POINTS = [
    Point("TF-IDF", "classical", 0.4, 0.8, 0.7, 0.88, True),
    Point("big <tuned> & co", "tuned", 700.0, 0.93, 0.85, 0.97, True),
    Point("big, few-shot", "prompted", 3000.0, 0.6, 0.5, 0.7, False),
]


def test_the_plot_names_every_candidate_and_says_the_front() -> None:
    svg = pareto_svg(POINTS, "macro_f1")
    text = "".join(etree.fromstring(svg.encode()).itertext())
    for point in POINTS:
        assert point.name in text
    assert "On the front, from fast to slow: TF-IDF, 0.4 ms, 0.800; big <tuned> & co, 700 ms, 0.930" in text
    assert "macro f1" in text
    assert "milliseconds a row" in text
    assert svg == pareto_svg(POINTS, "macro_f1")


def test_names_never_meet() -> None:
    crowd = [Point(f"c{i}", "tuned", 50.0 + i, 0.9, 0.8, 0.95, False) for i in range(6)] + [POINTS[0], POINTS[2]]
    places = label_places(crowd)
    apart = [b - a for a, b in itertools.pairwise(sorted(places))]
    assert min(apart) == pytest.approx(LINE / HEIGHT * (0.95 - 0.5))
    assert (places[0], places[-1]) == (0.9, 0.6)  # with room: beside its point
    assert all(place <= point.value for point, place in zip(crowd, places, strict=True))


def test_one_candidate_has_a_plot_too() -> None:
    assert "TF-IDF" in pareto_svg(POINTS[:1], "accuracy")
