"""The report in a real browser: quiet, readable, sortable, printable, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from luthier.report.page import render_page

CONTRAST = """() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const lum = c => c.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; })
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } };
  const bad = [];
  document.querySelectorAll('main *, nav *').forEach(e => {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length) return;
    const style = getComputedStyle(e), svg = e instanceof SVGElement;
    if (svg && e.tagName !== 'text') return;
    const a = lum(parse(svg ? style.fill : style.color)), b = lum(ground(e.closest('figure') || e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([e.tagName, e.className, e.textContent.trim().slice(0, 40), ratio.toFixed(2)].join(' '));
  });
  return bad;
}"""
CHART_TEXTS = """() => [...document.querySelectorAll('figure svg')].filter(s => s.getClientRects().length).map(s => {
  const frame = s.getBoundingClientRect();
  const boxes = [...s.querySelectorAll('text')].filter(t => t.textContent.trim()).map(t => [t.textContent, t.getBoundingClientRect()]);
  const out = boxes.filter(([, b]) =>
    b.left < frame.left - 2 || b.right > frame.right + 2 || b.top < frame.top - 2 || b.bottom > frame.bottom + 2);
  const hit = [];
  boxes.forEach(([ta, a], i) => boxes.slice(i + 1).forEach(([tb, b]) => {
    const w = Math.min(a.right, b.right) - Math.max(a.left, b.left), h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (w > 1.5 && h > 2.5) hit.push(ta + ' / ' + tb);
  }));
  return [s.querySelector('title').textContent, out.map(([t]) => t), hit, boxes.length];
})"""
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def rich_url(reports: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("rich") / "report.html"
    path.write_text(render_page(reports.example_report()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def minimal_url(reports: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("minimal") / "report.html"
    path.write_text(render_page(reports.minimal_report()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser: Any) -> Callable[..., Any]:
    @contextmanager
    def open_page(url: str, **options: Any) -> Iterator[Any]:
        context = browser.new_context(**options)
        page = context.new_page()
        page.heard = []
        page.on("console", lambda m: page.heard.append(f"console: {m.text}"))
        page.on("pageerror", lambda e: page.heard.append(f"error: {e}"))
        page.on("dialog", lambda d: (page.heard.append(f"dialog: {d.message}"), d.dismiss()))
        page.on("request", lambda r: page.heard.append(f"request: {r.url}") if r.url != url else None)
        page.goto(url)
        yield page
        context.close()

    return open_page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_quiet_fitting_and_legible(rich_url: str, minimal_url: str, opened: Callable[..., Any], scheme: str, size: dict[str, int]) -> None:
    for url in (rich_url, minimal_url):
        with opened(url, color_scheme=scheme, viewport=size) as page:
            assert page.heard == []
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_texts_of_charts_neither_overlap_nor_leave_the_picture(rich_url: str, opened: Callable[..., Any], size: dict[str, int]) -> None:
    with opened(rich_url, viewport=size) as page:
        charts = page.evaluate(CHART_TEXTS)
        assert len(charts) == 8
        for title, outside, overlapping, num_texts in charts:
            assert num_texts > 3, title
            assert outside == [], title
            assert overlapping == [], title


def test_the_verdict_is_on_the_first_screen(rich_url: str, opened: Callable[..., Any]) -> None:
    for size in (WIDE, NARROW):
        with opened(rich_url, viewport=size) as page:
            box = page.locator("h1").bounding_box()
            assert box["y"] + box["height"] < size["height"]


def test_dark_has_a_dark_ground_and_paper_a_white_one(rich_url: str, opened: Callable[..., Any]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    with opened(rich_url, color_scheme="dark") as page:
        dark, dark_ink = page.evaluate(ground), page.evaluate(ink)
        assert dark == "rgb(21, 24, 28)"
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(ground) == "rgb(255, 255, 255)"
        assert page.evaluate(ink) != dark_ink
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(34, 38, 44)"


def test_tables_sort_by_number_and_by_word(rich_url: str, opened: Callable[..., Any]) -> None:
    with opened(rich_url) as page:
        table = page.locator("#classes table.sortable")
        recall = "rows => rows.map(r => Number(r.cells[3].dataset.v))"
        names = "rows => rows.map(r => r.cells[0].textContent)"
        rows, button = table.locator("tbody tr"), table.locator("th button").nth(3)
        button.click()
        found = rows.evaluate_all(recall)
        assert found == sorted(found)
        assert table.locator("th").nth(3).get_attribute("aria-sort") == "ascending"
        button.focus()
        page.keyboard.press("Enter")
        assert rows.evaluate_all(recall) == sorted(found, reverse=True)
        table.locator("th button").first.click()
        assert rows.evaluate_all(names) == sorted(rows.evaluate_all(names))
        assert page.locator("#classes [aria-sort]").count() == 1
        assert page.heard == []


def test_without_scripts_everything_is_there(rich_url: str, opened: Callable[..., Any]) -> None:
    with opened(rich_url) as page:
        with_scripts = " ".join(page.locator("main").text_content().split())
    with opened(rich_url, java_script_enabled=False) as page:
        assert " ".join(page.locator("main").text_content().split()) == with_scripts
        page.locator("#errors details summary").first.click()
        assert page.locator("#errors details[open]").count() == 1


def test_printing_opens_folded_texts_and_closes_them_again(rich_url: str, opened: Callable[..., Any]) -> None:
    with opened(rich_url) as page:
        folded = page.locator("details").count()
        assert folded > 3
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details[open]").count() == folded
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == 0
        assert page.pdf(format="A4").startswith(b"%PDF-")


def test_the_policy_stops_a_foreign_script(rich_url: str, opened: Callable[..., Any]) -> None:
    with opened(rich_url) as page:
        page.evaluate(
            """() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); }"""
        )
        assert page.evaluate("window.ran") is None
        assert any("Content Security Policy" in said for said in page.heard)


def test_errors_can_be_saved_as_csv(rich_url: str, opened: Callable[..., Any]) -> None:
    with opened(rich_url) as page:
        with page.expect_download() as download:
            page.get_by_text("Save as CSV").click()
        assert download.value.suggested_filename == "errors.csv"
        text = Path(download.value.path()).read_bytes().decode("utf-8")
        assert text.startswith("key,source,prompt,reference")
        assert "日本語" in text
