"""Should you fine-tune? A decision in words from a table of measured candidates, with the evidence for it.

One decision: yes is what must be proven. A tuned model is recommended only when it is better than every untuned candidate (Holm's
adjusted p) by what the project calls worth having; every reason against is looked at first and each is told with its figures.
"""

from __future__ import annotations

from typing import Literal

import pydantic

from luthier.report import numbers
from luthier.stages.choose.bench import BenchPlan, BenchRow, BenchTable

FEW_ROWS = 100

Answer = Literal["yes", "no", "not proven"]


class Decision(pydantic.BaseModel):
    """answer: whether to fine-tune. reason: the one that decided. use: the candidate recommended now.

    words: the decision, its evidence and what to do, in sentences. method: of the tuned model that is recommended; None otherwise.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    answer: Answer
    reason: Literal["few rows", "bar met", "classical as good", "not worth it", "not proven", "better", "nothing tuned"]
    use: str
    method: str | None
    words: tuple[str, ...]


def decide(table: BenchTable, plan: BenchPlan, methods: dict[str, str]) -> Decision:
    """The decision. methods: how each tuned candidate was tuned, in words (`LoRA of rank 16, 38 steps`)."""
    found = _by_figures(table, plan, methods)
    used = table.row(found.use)
    if used.fits_use is not False:
        return found
    return found.model_copy(update={"words": (*found.words, f"Mind its licence: of {used.base}, {used.licence_fit} (objective.use).")})


def _by_figures(table: BenchTable, plan: BenchPlan, methods: dict[str, str]) -> Decision:
    untuned = [r for r in table.rows if r.family != "tuned"]
    tuned = [r for r in table.rows if r.family == "tuned"]
    cheapest = _cheapest_equal(table, untuned)
    if table.num_training_rows < FEW_ROWS:
        return _few_rows(table, cheapest)
    met = [r for r in untuned if plan.at_least is not None and r.low >= plan.at_least]
    if met:
        return _bar_met(table, min(met, key=lambda r: r.latency_ms), plan)
    if not tuned:
        words = (f"nothing was tuned, so whether tuning helps is not known; {cheapest.name} is what to use now",)
        return Decision(answer="not proven", reason="nothing tuned", use=cheapest.name, method=None, words=words)
    winners = [t for t in tuned if all(_better(table, t, u) for u in untuned)]
    if not winners:
        return _not_better(table, tuned[0], [u for u in untuned if not _better(table, tuned[0], u)])
    chosen = _cheapest_equal(table, winners)
    if table.pair(chosen.name, untuned[0].name)["high"] < plan.worth:
        return _not_worth(table, chosen, untuned[0], plan)
    return _yes(table, chosen, untuned[0], plan, methods)


def _better(table: BenchTable, a: BenchRow, b: BenchRow) -> bool:
    return table.differ(a.name, b.name) and a.value > b.value


def _cheapest_equal(table: BenchTable, rows: list[BenchRow]) -> BenchRow:
    """The fastest of those that cannot be told apart from the best of `rows`, which are in order of quality."""
    best = rows[0]
    return min((r for r in rows if r.name == best.name or not table.differ(best.name, r.name)), key=lambda r: r.latency_ms)


def _few_rows(table: BenchTable, use: BenchRow) -> Decision:
    words = (
        f"Do not fine-tune yet: there are {table.num_training_rows} training rows, and below {FEW_ROWS} a tuned model is rarely "
        f"better and its gain can rarely be shown.",
        f"Use {use.name} ({_figure(use)}) and collect rows.",
    )
    return Decision(answer="no", reason="few rows", use=use.name, method=None, words=words)


def _bar_met(table: BenchTable, use: BenchRow, plan: BenchPlan) -> Decision:
    words = (
        f"Do not fine-tune: {use.name} meets the bar of {plan.at_least:g} as it is ({_figure(use)}, the whole interval above the bar).",
        _cost(use),
    )
    return Decision(answer="no", reason="bar met", use=use.name, method=None, words=words)


def _not_better(table: BenchTable, tuned: BenchRow, unbeaten: list[BenchRow]) -> Decision:
    """`tuned`, the best tuned candidate, is not proven better than any of `unbeaten`."""
    use = min(unbeaten, key=lambda r: r.latency_ms)
    worse = _better(table, use, tuned)
    how = "is worse than" if worse else "is not proven better than"
    said = f"{tuned.name} ({_figure(tuned)}) {how} {use.name} ({_figure(use)}): {_gain(table, tuned.name, use.name)}."
    if use.family == "classical":
        words = (f"Do not fine-tune a language model: a classical one is as good. {said}", _compared(use, tuned), _cost(use))
        return Decision(answer="no", reason="classical as good", use=use.name, method=None, words=words)
    more = f"More training or validation rows may show a gain; {table.num_rows:,} validation rows show only large ones."
    words = (f"Fine-tuning is not proven to help. {said}", more, _cost(use))
    return Decision(answer="not proven", reason="not proven", use=use.name, method=None, words=words)


def _not_worth(table: BenchTable, tuned: BenchRow, use: BenchRow, plan: BenchPlan) -> Decision:
    worth = f"{100 * plan.worth:g} points" if table.unit == "share" else f"{plan.worth:g}"
    words = (
        f"Do not fine-tune: {tuned.name} is better than {use.name}, but by less than the {worth} that are worth it "
        f"(bench.worth): {_gain(table, tuned.name, use.name)}.",
        _compared(use, tuned),
    )
    return Decision(answer="no", reason="not worth it", use=use.name, method=None, words=words)


def _yes(table: BenchTable, chosen: BenchRow, against: BenchRow, plan: BenchPlan, methods: dict[str, str]) -> Decision:
    method = methods[chosen.name]
    words = [
        f"Fine-tune: {chosen.name} ({_figure(chosen)}) is better than the best untuned candidate, {against.name} ({_figure(against)}): "
        f"{_gain(table, chosen.name, against.name)}.",
        f"Recommended: {chosen.base}, {method}; its short tune took {chosen.train_seconds:.0f} s.",
    ]
    others = [r for r in table.rows if r.family == "tuned" and r.name != chosen.name]
    words += [_size(table, chosen, other) for other in others]
    words.append(_cost(chosen))
    if plan.at_least is not None and chosen.low < plan.at_least:
        words.append(f"The bar of {plan.at_least:g} is not yet proven to be met (its lower end is {chosen.low:.3f}): tune for longer.")
    return Decision(answer="yes", reason="better", use=chosen.name, method=method, words=tuple(words))


def _size(table: BenchTable, chosen: BenchRow, other: BenchRow) -> str:
    """Why this base and not the other tuned one."""
    if table.differ(chosen.name, other.name):
        verb = "better" if chosen.value > other.value else "worse"
        return f"It is {verb} than {other.name}: {_gain(table, chosen.name, other.name)}."
    return f"It cannot be told apart from {other.name}. {_compared(chosen, other)}"


def _figure(row: BenchRow) -> str:
    return f"{row.value:.3f}, {row.low:.3f} to {row.high:.3f}"


def _gain(table: BenchTable, first: str, second: str) -> str:
    pair, unit = table.pair(first, second), table.unit
    return (
        f"{numbers.difference(pair['effect'], unit)} ({numbers.difference_interval(pair['low'], pair['high'], unit)}), "
        f"adjusted p {'below 0.001' if pair['adjusted'] < 0.001 else format(pair['adjusted'], '.3f')}"
    )


def _compared(small: BenchRow, large: BenchRow) -> str:
    """What the first costs beside the second."""
    return (
        f"{small.name} answers a row in {_ms(small.latency_ms)} and takes {small.size_mb:,.1f} MB on disk; "
        f"{large.name} takes {_ms(large.latency_ms)} and {large.size_mb:,.1f} MB."
    )


def _cost(row: BenchRow) -> str:
    money = "" if row.cost_per_1000 is None else f", {row.cost_per_1000:.3g} in money"
    return (
        f"{row.name}: {_ms(row.latency_ms)} a row, {row.peak_memory_mb:,.0f} MB of memory, "
        f"about {row.energy_wh_per_1000:.2g} Wh{money} for 1,000 rows; licence {row.licence}."
    )


def _ms(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"
