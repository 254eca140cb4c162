"""Numbers in words: shares, intervals, p values, seconds and sizes, the same in every view.

One decision: a share is printed in percent and a difference of shares in points, so a gain of 10 points
is never read as 10 percent of something.
"""

from __future__ import annotations

from luthier.report.model import MetricRow, RunReport, Verdict
from luthier.report.sections import BarRow, Estimate, Look, ShiftRow, Unit
from luthier.report.side_effects import SideEffect

MINUS = "\N{MINUS SIGN}"
NOT_MEASURED = "not measured"


def value(x: float, unit: Unit = "share") -> str:
    """A metric's value: `75.4%` for a share, three significant decimals for a number."""
    return _signed(f"{100 * x:.1f}%" if unit == "share" else _plain(x))


def difference(x: float, unit: Unit = "share") -> str:
    """A signed difference: `+15.4 points` for shares, `+0.153` for numbers."""
    return f"{_delta(x, unit)} points" if unit == "share" else _delta(x, unit)


def interval(low: float, high: float, unit: Unit = "share") -> str:
    """`70.1 to 80.2%`"""
    if unit == "share":
        return _signed(f"{100 * low:.1f} to {100 * high:.1f}%")
    return _signed(f"{_plain(low)} to {_plain(high)}")


def difference_interval(low: float, high: float, unit: Unit = "share") -> str:
    """`+10.2 to +20.7` (points for shares)."""
    return f"{_delta(low, unit)} to {_delta(high, unit)}"


def estimate(e: Estimate | None, unit: Unit = "share") -> str:
    """`75.4% (70.1 to 80.2%)`, or `not measured`."""
    return NOT_MEASURED if e is None else f"{value(e.value, unit)} ({interval(e.low, e.high, unit)})"


def estimated_difference(e: Estimate | None, unit: Unit = "share") -> str:
    """`+15.4 points (+10.2 to +20.7)`, or `not measured`."""
    return NOT_MEASURED if e is None else f"{difference(e.value, unit)} ({difference_interval(e.low, e.high, unit)})"


def p_value(p: float) -> str:
    """`p < 0.001`, or three significant digits below 0.1 and two decimals above: `p = 0.0499`, `p = 0.46`."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3g}" if p < 0.1 else f"p = {p:.2f}"


def tested(row: MetricRow) -> str:
    """The p-value of a metric's difference, or that there is none."""
    return NOT_MEASURED if row.p is None else p_value(row.p)


def percent(x: float) -> str:
    """A confidence level or a share without decimals it does not need: `95%`, `99.5%`."""
    return f"{100 * x:.4g}%"


def count(n: int | None) -> str:
    """`1,234`, or `not measured`."""
    return NOT_MEASURED if n is None else f"{n:,}"


def large(n: float | None) -> str:
    """A count of parameters or tokens: `134.5 M`, `1.2 B`, `921,600`."""
    if n is None:
        return NOT_MEASURED
    for size, sign in ((1e9, "B"), (1e6, "M")):
        if n >= size:
            return f"{n / size:.1f} {sign}"
    return f"{n:,.0f}"


def seconds(s: float | None) -> str:
    """`0.4 s`, `42 s`, `3 min 12 s`, `2 h 05 min`, or `not measured`."""
    if s is None:
        return NOT_MEASURED
    if s < 9.95:
        return f"{s:.1f} s"
    whole = round(s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def megabytes(mb: float | None) -> str:
    """`812 MB`, `3.4 GB`, or `not measured`."""
    if mb is None:
        return NOT_MEASURED
    return f"{mb:,.0f} MB" if mb < 1024 else f"{mb / 1024:.1f} GB"


def watt_hours(wh: float | None) -> str:
    """`1.8 Wh (estimate)`, or `not measured`."""
    return NOT_MEASURED if wh is None else f"{wh:.1f} Wh (estimate)"


def setting(x: object) -> str:
    """A config value for people: `0.0002`, `yes`, `none`."""
    if isinstance(x, bool):
        return "yes" if x else "no"
    if isinstance(x, float):
        return f"{x:g}"
    return "none" if x is None else str(x)


def opponent(report: RunReport) -> str:
    """Whom the tuned model was compared with."""
    chosen = [c for c in report.candidates if c.chosen and c.split == "test"]
    return "the previous release" if chosen and chosen[0].role == "previous" else "the best prompting baseline"


def verdict_sentence(report: RunReport) -> str:
    """The verdict in one sentence, the headline of every view."""
    v, unit = report.verdict, report.objective.unit
    rows = f"{v.num_rows:,} sealed {'row' if v.num_rows == 1 else 'rows'}"
    moved = f"{v.metric} {value(v.baseline, unit)} to {value(v.tuned, unit)}"
    if v.decision == "not proven":
        return f"Not proven: {moved} on {rows} is within what chance allows."
    return f"The tuned model is {v.decision} than {opponent(report)}: {moved} on {rows}."


def verdict_figures(verdict: Verdict, unit: Unit) -> str:
    """Effect, interval, p, test and n in one line."""
    v = verdict
    return (
        f"{difference(v.effect, unit)}, {percent(1 - v.alpha)} interval {difference_interval(*v.interval, unit)}, "
        f"{p_value(v.p)} ({v.test}), n = {v.num_rows:,}"
    )


def bar_asked(bar: BarRow) -> str:
    """`accuracy at least 80.0%`, `ece at most 0.050`, `macro_f1 no worse than the opponent by more than 2.0 points`"""
    if bar.kind != "no_worse_than":
        return f"{bar.metric} {bar.kind.replace('_', ' ')} {value(bar.bar, bar.unit)}"
    whom = "the opponent" if bar.against == "opponent" else f"{bar.against}"
    margin = difference(bar.bar, bar.unit).lstrip("+")
    return f"{bar.metric} no worse than {whom}" + (f" by more than {margin}" if bar.bar else "")


def bar_measured(bar: BarRow) -> str:
    """The figure with its interval, or the gain with its own."""
    return (estimated_difference if bar.kind == "no_worse_than" else estimate)(bar.value, bar.unit)


def bars_sentence(bars: tuple[BarRow, ...]) -> str:
    """How many bars are met, and which are not; empty without bars."""
    if not bars:
        return ""
    short = [bar for bar in bars if bar.outcome != "met"]
    if not short:
        return f"{'The bar is' if len(bars) == 1 else f'All {len(bars)} bars are'} met."
    told = "; ".join(f"{bar_asked(bar)}: {bar.outcome} ({bar_measured(bar)})" for bar in short)
    return f"{len(bars) - len(short)} of {len(bars)} {'bar' if len(bars) == 1 else 'bars'} met; {told}."


def refused_sentence(refused: tuple[SideEffect, ...]) -> str:
    """Why a model is not accepted in spite of its verdict; empty when nothing is refused."""
    words = {"forgotten": "it has forgotten part of what the base knew", "memorised": "it remembers rows that it was trained on"}
    return f"The model is refused: {' and '.join(words[name] for name in refused)} (watch.refuse)." if refused else ""


def shift_name(row: ShiftRow) -> str:
    """`typos`, `reviews (baseline)`: whose figure it is where both models have one."""
    return f"{row.name} ({row.model})" if row.kind == "out of domain" or row.model == "baseline" else row.name


def shift_change(row: ShiftRow, unit: Unit) -> str:
    """The change with its interval; of a perturbation that may change the right answer, that there is none."""
    return estimated_difference(row.change, unit) if row.change else "no drop: the right answer may differ"


def shift_words(row: ShiftRow) -> str:
    """What the interval of the change says."""
    if row.change is None:
        return "not judged"
    return "lower" if row.change.high < 0 else "higher" if row.change.low > 0 else "not proven"


def looks_lines(looks: tuple[Look, ...]) -> list[str]:
    """A line for each look where there are several; one look is what the verdict says already."""
    if len(looks) < 2:
        return []
    return [f"The sealed rows have been looked at {len(looks)} times:", *(f"  {look.words()}" for look in looks)]


def detectable(verdict: Verdict, unit: Unit) -> str:
    """What this many rows could have shown; an effect of 1.0, the whole scale, stands for none."""
    if verdict.minimum_detectable_effect >= 1:
        return f"{verdict.num_rows:,} rows are too few to show any gain at 80% power."
    gain = difference(verdict.minimum_detectable_effect, unit)
    return f"The smallest gain that {verdict.num_rows:,} rows show at 80% power is {gain}."


def _plain(x: float) -> str:
    return f"{x:.3f}" if abs(x) < 100 else f"{x:,.1f}"


def _delta(x: float, unit: Unit) -> str:
    return _signed(f"{100 * x:+.1f}" if unit == "share" else ("+" if x >= 0 else "") + _plain(x))


def _signed(text: str) -> str:
    return text.replace("-", MINUS)
