"""Finds personal data and secrets in a text: all rules, in the order of what they prove.

One decision: names are no structured data and are asked for by `names=True`; everything else is always looked for.
"""

from __future__ import annotations

from luthier.parts.privacy import finance, names, national, network, papers, phone, place, secrets
from luthier.parts.privacy.rule import KINDS, Kind, Rule, Value, scan

STRUCTURED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "name")
_RULES: tuple[Rule, ...] = (
    *secrets.PRIVATE_KEY_RULES,
    *network.URL_RULES,
    *secrets.KEY_RULES,
    *network.EMAIL_RULES,
    *papers.RULES,
    *finance.RULES,
    *national.RULES,
    *network.MACHINE_RULES,
    *phone.RULES,
    *secrets.PASSWORD_RULES,
    *place.ADDRESS_RULES,
    *place.CODE_RULES,
    *names.RULES,
)


def find_values(text: str, kinds: tuple[Kind, ...] = STRUCTURED) -> list[Value]:
    """Every value of `kinds` in the text, in order, none overlapping another. Raises MachineError where a library is missing.

    All structured rules run whatever `kinds` says, so that a number keeps its kind; the rest is left out.
    """
    found = scan(text, _RULES if "name" in kinds else tuple(rule for rule in _RULES if rule.kind != "name"))
    return [value for value in found if value.kind in kinds]
