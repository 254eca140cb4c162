"""Whether a source may be used as intended: its licence, the consent of the people in it, and where it comes from.

One decision: only what is written down is judged. A licence that forbids the stated use, or a consent that was refused, is a conflict
and stops everything; what is not known is a warning that says so. This is a check of consistency and no legal advice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from luthier.core.config import Config
from luthier.parts.legal.licences import Licence, alternatives, near_identifier

Consent = Literal["given", "not_needed", "refused", "unknown"]


class IntendedUse(Config):
    """What the model is for, as far as licences ask."""

    commercial: bool = Field(description="the model, or what it is used for, earns or saves money")
    redistribution: bool = Field(description="the model, or rows, are passed on to others")

    def words(self) -> str:
        """In words, for cards."""
        money = "commercial" if self.commercial else "non-commercial"
        return f"{money}, {'passed on to others' if self.redistribution else 'not passed on'}"


class Rights(Config):
    """What is known of the right to use a source."""

    licence: str | None = Field(default=None, description="an SPDX identifier such as CC-BY-4.0, or an expression with OR, AND")
    consent: Consent | None = Field(default=None, description="of the people whose words or data the rows are")
    provenance: str | None = Field(default=None, description="where the rows come from, in words or as an address")
    permission: str | None = Field(default=None, description="a written permission beyond the licence: from whom, when")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a source may not be used as intended (`blocks`), or what is not known of it, with what to do."""

    source: str
    blocks: bool
    reason: str
    fix: str


def doubts(source: str, rights: Rights, use: IntendedUse | None) -> Iterator[Doubt]:
    """Every conflict and every unknown of one source; licences are judged where the intended use is stated."""
    if rights.consent == "refused":
        yield Doubt(source, True, "the consent to use it was refused", "leave the source out")
    if use is None or rights.permission:
        return
    yield from _licence_doubts(source, rights.licence, use)
    missing = [name for name in ("consent", "provenance") if getattr(rights, name) in (None, "unknown")]
    if missing:
        yield Doubt(source, False, f"not known: {', '.join(missing)}", f"state {' and '.join(missing)} beside its licence")


def base_doubts(name: str, licence: str, use: IntendedUse | None) -> Iterator[Doubt]:
    """What the licence of a base model forbids or leaves open of the intended use; nothing where no use is stated."""
    if use is None:
        return
    stated = None if licence == "unknown" else licence
    for doubt in _licence_doubts(f"the base {name}", stated, use):
        if doubt.blocks:
            yield replace(doubt, fix="choose another base, state the `base_permission` that you have, or correct objective.use")
        elif stated is None or alternatives(stated) is None:
            yield replace(doubt, fix="read its licence, and state the `base_permission` that you have")
        else:
            yield doubt


def licence_fit(licence: str, use: IntendedUse | None) -> tuple[bool | None, str]:
    """Whether a base's licence allows the intended use (None: not known, or no use is stated), and that in a few words."""
    if use is None:
        return None, "not stated"
    found = list(base_doubts("", licence, use))
    if not found:
        return True, "allowed"
    if any(d.blocks for d in found):
        return False, found[0].reason
    known = licence != "unknown" and alternatives(licence) is not None
    return (True, f"allowed; {found[0].reason}") if known else (None, found[0].reason)


def _licence_doubts(source: str, licence: str | None, use: IntendedUse) -> Iterator[Doubt]:
    options = alternatives(licence) if licence else None
    if options is None:
        close = near_identifier(licence) if licence else ""
        fix = f"did you mean {close}?" if close else "state its SPDX identifier, or the `permission` that you have"
        got = f"the licence {licence!r} is not known" if licence else "no licence is stated"
        yield Doubt(source, False, f"{got}: it may not allow the intended use ({use.words()})", fix)
        return
    if not any(_fits(parts, use) for parts in options):
        wants = [w for w, wanted in (("commercial use", use.commercial), ("passing on what is made from it", use.redistribution)) if wanted]
        forbidden = [w for w in wants if not any(_fits(parts, _only(w)) for parts in options)] or wants
        fix = "leave the source out, state a `permission` that you have, or correct objective.use"
        yield Doubt(source, True, f"its licence {licence} does not allow {' and '.join(forbidden)}", fix)
        return
    fitting = next(parts for parts in options if _fits(parts, use))
    bound = sorted({c for p in fitting for c in p.conditions}) if use.redistribution else []
    if bound:
        yield Doubt(source, False, f"its licence {licence} asks for {' and '.join(bound)}", "keep to it when you pass the model or rows on")


def _only(want: str) -> IntendedUse:
    return IntendedUse(commercial=want == "commercial use", redistribution=want != "commercial use")


def _fits(parts: list[Licence], use: IntendedUse) -> bool:
    return all((p.commercial or not use.commercial) and (p.changed or not use.redistribution) for p in parts)
