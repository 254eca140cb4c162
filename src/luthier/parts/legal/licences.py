"""Licences by their SPDX identifier and what each allows: a small table with its sources, and nothing beside it.

One decision: a licence that is not in the table is unknown, however clear its name sounds; nothing is guessed from a name. Sources:
identifiers from the SPDX licence list 3.27 (spdx.org/licenses); permissions and conditions from choosealicense.com (`_licenses`), the
Creative Commons deeds (creativecommons.org/licenses), and the texts of ODC, CDLA and the government licences themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from luthier.core.errors import nearest


@dataclass(frozen=True, slots=True)
class Licence:
    """What one licence allows. changed: what was made from the material may be passed on; conditions: what must then be kept to."""

    id: str
    commercial: bool = True
    changed: bool = True
    conditions: tuple[str, ...] = ()


_NAMED, _ALIKE = "attribution", "the same licence for what is passed on"
_NO_CONDITION = ("CC0-1.0", "PDDL-1.0", "Unlicense", "0BSD", "MIT-0", "CDLA-Permissive-2.0")
_ATTRIBUTION = (
    *("MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "BSL-1.0", "Zlib", "ODC-By-1.0", "CDLA-Permissive-1.0"),
    *("OGL-UK-2.0", "OGL-UK-3.0", "OGL-Canada-2.0", "etalab-2.0", "NLOD-1.0", "NLOD-2.0", "DL-DE-BY-2.0", "PSF-2.0"),
)
_SHARE_ALIKE = (
    *("ODbL-1.0", "CDLA-Sharing-1.0", "MPL-2.0", "EPL-2.0", "EUPL-1.2", "GFDL-1.3-only", "GFDL-1.3-or-later"),
    *(f"{name}-{version}" for name in ("GPL-2.0", "GPL-3.0", "LGPL-2.1", "LGPL-3.0", "AGPL-3.0") for version in ("only", "or-later")),
)
_CC_VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")
_CC = {"BY": (), "BY-SA": ("SA",), "BY-NC": ("NC",), "BY-NC-SA": ("NC", "SA"), "BY-ND": ("ND",), "BY-NC-ND": ("NC", "ND")}
_SAME = {"cc0": "CC0-1.0", "apache-license-2.0": "Apache-2.0", "the-unlicense": "Unlicense"}
"""Other spellings of exactly one licence; a name without the version that its licence has is none of them."""


def _all() -> tuple[Licence, ...]:
    plain = [Licence(i) for i in _NO_CONDITION]
    named = [Licence(i, conditions=(_NAMED,)) for i in _ATTRIBUTION]
    alike = [Licence(i, conditions=(_NAMED, _ALIKE)) for i in _SHARE_ALIKE]
    creative = [
        Licence(f"CC-{name}-{v}", "NC" not in marks, "ND" not in marks, (_NAMED, _ALIKE) if "SA" in marks else (_NAMED,))
        for name, marks in _CC.items()
        for v in _CC_VERSIONS
    ]
    return (*plain, *named, *alike, *creative)


LICENCES: dict[str, Licence] = {licence.id.lower(): licence for licence in _all()}
"""The table, by identifier in lower case."""


def find_licence(text: str) -> Licence | None:
    """The licence of an identifier (case, spaces and hyphens aside), None when it is not in the table."""
    key = re.sub(r"[\s_]+", "-", text.strip().lower())
    return LICENCES.get(_SAME.get(key, key).lower())


def alternatives(text: str) -> list[list[Licence]] | None:
    """An SPDX expression as alternatives (OR), each a list of licences that all hold (AND); None when a part of it is unknown."""
    out = []
    for option in re.split(r"\s+OR\s+", text.strip()):
        parts = [find_licence(part) for part in re.split(r"\s+AND\s+", option)]
        if any(part is None for part in parts):
            return None
        out.append([part for part in parts if part is not None])
    return out


def near_identifier(text: str) -> str:
    """The identifier in the table that a text is nearest to; empty when none is near."""
    close = nearest(re.sub(r"[\s_]+", "-", text.strip().lower()), LICENCES)
    return LICENCES[close[0]].id if close else ""


def allows(text: str | None) -> str:
    """What a licence allows, in a few words, for tables; says so when that is unknown."""
    options = alternatives(text) if text else None
    if not options:
        return "unknown"
    best = max(options, key=lambda parts: (all(p.commercial for p in parts), all(p.changed for p in parts)))
    use = "any use" if all(p.commercial for p in best) else "non-commercial use"
    passing = "passing on" if all(p.changed for p in best) else "passing on unchanged only"
    conditions = sorted({c for p in best for c in p.conditions})
    return f"{use}, {passing}" + (f"; with {', '.join(conditions)}" if conditions else "")
