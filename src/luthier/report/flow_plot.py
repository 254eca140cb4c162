"""The ledger as a flow diagram: rows go from step to step as a band, and leave it downwards where they are set aside or dropped.

One decision: it is drawn by hand as SVG, for the chart library has no flow diagram; it uses the same inks as the other charts,
so that the page's style sheet turns it dark, and says its numbers in words beside each band.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from luthier.report.plots import FATES, FONT, INK, short
from luthier.report.sections import LedgerStep

_TOP, _BAND, _FALL, _NODE = 44, 90, 64, 6
_LEAST = 1.5  # a band is never thinner, in pixels


def flow_chart(steps: Sequence[LedgerStep], width: int) -> str:
    """The rows through `steps` as one SVG. Empty text when no row reached any."""
    if not steps or not steps[0].reached:
        return ""
    total, step_width = steps[0].reached, (width - _NODE) / (len(steps))
    parts, said = [], []
    for i, step in enumerate(steps):
        x = i * step_width
        parts += _step(step, x, step_width, total)
        left = ", ".join(f"{n:,} {fate}" for fate, n in _exits(step))
        said.append(f"{step.step}: {step.reached:,} rows" + (f", {left}" if left else ""))
    end = steps[-1].kept + steps[-1].changed
    parts.append(_bar(width - _NODE, _thick(end, total)))
    parts.append(_text(width, 14, "left", "end", bold=True) + _text(width, 30, f"{end:,}", "end"))
    said.append(f"left: {end:,} rows")
    height = _TOP + _BAND + _FALL + 34
    words = f"<title>What becomes of the rows</title><desc>{html.escape('; '.join(said))}</desc>"
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} font-family="{html.escape(FONT)}">{words}{"".join(parts)}</svg>'


def _exits(step: LedgerStep) -> list[tuple[str, int]]:
    return [(fate, n) for fate, n in (("set aside", step.set_aside), ("dropped", step.dropped)) if n]


def _thick(num: int, total: int) -> float:
    return max(_LEAST, _BAND * num / total) if num else 0.0


def _step(step: LedgerStep, x: float, step_width: float, total: int) -> list[str]:
    """The node of a step, the band to the next one, and a band down for each way out."""
    going, full = step.kept + step.changed, _thick(step.reached, total)
    on, y = _thick(going, total), float(_TOP)
    parts = [_bar(x, full)]
    start, end = x + _NODE, x + step_width
    if on:
        parts.append(
            f'<path d="M{start:.1f} {y:.1f} L{end:.1f} {y:.1f} L{end:.1f} {y + on:.1f} L{start:.1f} {y + on:.1f} Z" '
            f'fill="{INK["grey"]}" fill-opacity="0.45"/>'
        )
    if step.changed:
        thick = _thick(step.changed, total)
        parts.append(f'<rect x="{start:.1f}" y="{y:.1f}" width="{end - start:.1f}" height="{thick:.1f}" fill="{INK["blue"]}"/>')
    lines, at, floor = [], y + on, float(_TOP + _BAND + _FALL)
    for n, (fate, num) in enumerate(_exits(step)):
        thick, ink = _thick(num, total), INK[FATES[fate]]
        place = start + step_width * (0.45 - 0.25 * n)
        under, right = at + thick, place + thick
        parts.append(
            f'<path d="M{start:.1f} {at:.1f} C{right:.1f} {at:.1f} {right:.1f} {at:.1f} {right:.1f} {floor:.1f} '
            f'L{place:.1f} {floor:.1f} C{place:.1f} {under:.1f} {place:.1f} {under:.1f} {start:.1f} {under:.1f} Z" '
            f'fill="{ink}" fill-opacity="0.8"/>'
        )
        lines.append(f"{num:,} {fate}")
        at += thick
    parts.append(_text(x, 14, short(step.step, max(8, int(step_width // 8))), bold=True))
    parts.append(_text(x, 30, f"{step.reached:,}" + (f", {step.changed:,} changed" if step.changed else "")))
    parts += [_text(start + 0.1 * step_width, floor + 14 + 14 * n, line) for n, line in enumerate(lines)]
    return parts


def _bar(x: float, height: float) -> str:
    return f'<rect x="{x:.1f}" y="{_TOP}" width="{_NODE}" height="{height:.1f}" fill="{INK["text"]}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11"{weight} fill="{INK["text"]}">{html.escape(words)}</text>'
