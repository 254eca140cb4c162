"""Forgetting and memorisation in words, from their figures, with what to try.

One decision: three words for each (found, not proven, none), judged on interval ends against a margin that is stated beside
them, so that few rows end in "not proven" and never in "none".
"""

from __future__ import annotations

from typing import Literal

from luthier.report import numbers
from luthier.report.remedies import Settings, raised, remedy
from luthier.report.sections import Estimate, Remedy
from luthier.report.side_effects import CanaryExposure, Forgetting, Membership, Memorisation, ProbeRow

TOLD_APART = 0.6
"""Share of (training, unseen) pairs told apart above which rows are called remembered; 0.5 is chance."""
NOTABLE_BITS = 3.0
"""Mean exposure below which canaries are called not remembered, when chance explains their ranks."""
LEVEL = 0.05


def forgetting(probe: tuple[Estimate, Estimate, Estimate], margin: float, worst: tuple[ProbeRow, ...], given: Settings) -> Forgetting:
    """The verdict in words: forgotten when the whole interval of the change lies above the margin, none when it lies below.

    probe: perplexity before, perplexity after, and the change in nats a token.
    """
    before, after, change = probe
    perplexities = f"from {numbers.estimate(before, 'number')} to {numbers.estimate(after, 'number')}"
    nats = numbers.estimated_difference(change, "number")
    figures = f"perplexity on {change.n} general questions went {perplexities}, {nats} nats a token; the margin is {margin:g}"
    finding: Literal["forgotten", "not proven", "none"] = "not proven"
    text = f"Forgetting is neither proven nor ruled out: {figures}."
    if change.low > margin:
        finding, text = "forgotten", f"The model has forgotten part of what the base knew: {figures}."
    elif change.high < margin:
        finding, text = "none", f"No forgetting: {figures}."
    return Forgetting(
        finding=finding,
        text=text,
        num_rows=change.n,
        margin=margin,
        before=before,
        after=after,
        change=change,
        worst=worst,
        remedies=() if finding == "none" else _against_forgetting(given),
    )


def _against_forgetting(given: Settings) -> tuple[Remedy, ...]:
    return (
        remedy(given, "learning_rate", "lower it by 2 to 5 times", factor=0.5),
        remedy(given, "epochs", "train less", factor=0.5),
        Remedy(setting="data", advice="mix some per cent of general rows into the training rows (replay)"),
        remedy(given, "rank", "lower it, or train fewer layers", factor=0.5),
    )


def memorisation(membership: Membership, canaries: tuple[CanaryExposure, ...], given: Settings) -> Memorisation:
    """The verdict in words: of the training rows' losses, and of the planted canaries where there are any."""
    findings = {_of_membership(membership), *(_of_canaries(c, len(canaries)) for c in canaries)}
    finding: Literal["memorised", "not proven", "none"] = "not proven"
    if "memorised" in findings:
        finding = "memorised"
    elif findings == {"none"}:
        finding = "none"
    words = {
        "memorised": "The model remembers rows that it was trained on",
        "not proven": "Whether the model remembers its training rows is neither proven nor ruled out",
        "none": "The model hardly remembers single training rows",
    }
    told = numbers.estimate(membership.auc)
    text = f"{words[finding]}: by their loss, a training row is told from an unseen one in {told} of pairs (50% is chance)"
    evidence = tuple(_canary_words(c) for c in canaries)
    return Memorisation(
        finding=finding,
        text=f"{text}." if not evidence else f"{text}; {'; '.join(evidence)}.",
        membership=membership,
        canaries=canaries,
        evidence=(_membership_words(membership), *evidence),
        remedies=() if finding == "none" else _against_memorisation(given),
    )


def _of_membership(m: Membership) -> str:
    return "memorised" if m.auc.low > TOLD_APART else "none" if m.auc.high < TOLD_APART else "not proven"


def _of_canaries(c: CanaryExposure, groups: int) -> str:
    """Groups of different repeats are judged at a level divided by their number (Bonferroni)."""
    if c.p < LEVEL / groups and c.exposure.low > c.chance:
        return "memorised"
    return "none" if c.p >= LEVEL and c.exposure.high < NOTABLE_BITS else "not proven"


def _membership_words(m: Membership) -> str:
    what = "how far training lowered their loss" if m.calibrated else "their loss"
    return f"{m.num_train} training rows against {m.num_unseen} validation rows, compared by {what}: {numbers.estimate(m.auc)} of pairs"


def _canary_words(c: CanaryExposure) -> str:
    times = "once" if c.repeats == 1 else f"{c.repeats} times"
    bits = numbers.estimate(c.exposure, "number")
    return (
        f"{c.num_canaries} canaries seen {times} an epoch have an exposure of {bits} bits on average, of {c.most:.1f} at most "
        f"({c.chance:.1f} is chance, {numbers.p_value(c.p)})"
    )


def _against_memorisation(given: Settings) -> tuple[Remedy, ...]:
    return (
        remedy(given, "epochs", "train less: each further epoch repeats every row", factor=0.5),
        Remedy(setting="data", advice="take out repeated rows (`luthier data duplicates`) and personal data (`luthier data pii --redact`)"),
        remedy(given, "rank", "lower it", factor=0.5),
        raised(given, "dropout", "raise it", least=0.1),
    )
