"""Which rows go where: units that stay together, and a stratified choice among them.

One decision: the order within a class is sha256(seed, content id), so the choice depends on what rows say and
never on where they stood; duplicates and groups are one unit and land on one side by construction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.parts.duplicates.text import Same, exact_text, normalised_text
from luthier.stages.data.alike import Alike


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows (by number) that stay on one side. `rank` is the pseudo-random order; `stratum` the class of its first row."""

    rank: str
    rows: tuple[int, ...]
    stratum: str

    @property
    def size(self) -> int:
        return len(self.rows)


def rank_of(seed: int, text: str) -> str:
    """The place of a row in the pseudo-random order."""
    return hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).hexdigest()


def make_units(records: Sequence[Any], same: Same, by_group: bool, stratify: bool, seed: int, alike: Sequence[Alike] = ()) -> list[Unit]:
    """Join rows with the same id, text after normalising, group, or cluster of `alike`; units in the order of their rank."""
    parent = list(range(len(records)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    for i, record in enumerate(records):
        names: list[Hashable] = [("id", record.id), ("text", normalised_text(exact_text(record, same)))]
        if by_group and record.group is not None:
            names.append(("group", record.group))
        names += [judged.cluster(record) for judged in alike]
        for name in names:
            parent[root(i)] = root(first.setdefault(name, i))
    members: dict[int, list[int]] = {}
    for i in range(len(records)):
        members.setdefault(root(i), []).append(i)
    return sorted((_unit(rows, records, stratify, seed) for rows in members.values()), key=lambda u: u.rank)


def _unit(rows: list[int], records: Sequence[Any], stratify: bool, seed: int) -> Unit:
    ordered = sorted(rows, key=lambda i: (rank_of(seed, records[i].id), records[i].key))
    label = getattr(records[ordered[0]], "label", None) if stratify else None
    return Unit(rank_of(seed, records[ordered[0]].id), tuple(ordered), "" if label is None else str(label))


def take(units: Sequence[Unit], target: int, leave: int) -> tuple[list[Unit], list[Unit]]:
    """Choose units of about `target` rows in all, each stratum in proportion; returns (taken, left), both in rank order.

    Exact when units are single rows. At least `leave` units are left for the splits still to come, and then the last unit
    of a stratum is taken only when nothing else is left.
    """
    strata: dict[str, list[Unit]] = {}
    for unit in units:
        strata.setdefault(unit.stratum, []).append(unit)
    quotas = shares({name: sum(u.size for u in members) for name, members in strata.items()}, target)
    most = max(0, len(units) - leave)
    taken: set[str] = set()
    for name, members in strata.items():
        _fill(members[: len(members) - 1] if leave else members, quotas[name], taken, most)
    left_in = {name: [u for u in members if u.rank not in taken] for name, members in strata.items()}
    last = {members[-1].rank for members in left_in.values() if members} if leave else set()
    rest = sorted((u for members in left_in.values() for u in members), key=lambda u: (u.rank in last, u.rank))
    _fill(rest, target - sum(u.size for u in units if u.rank in taken), taken, most)
    if not taken and target > 0 and most > 0:
        taken.add(min(units, key=lambda u: (u.size, u.rank)).rank)
    return [u for u in units if u.rank in taken], [u for u in units if u.rank not in taken]


def _fill(units: Iterable[Unit], room: int, taken: set[str], most: int) -> None:
    """Take units in order while at least half of the next one fits and fewer than `most` are taken."""
    for unit in units:
        if room > 0 and 2 * room >= unit.size and len(taken) < most:
            taken.add(unit.rank)
            room -= unit.size


def shares(sizes: dict[str, int], target: int) -> dict[str, int]:
    """`target` rows over strata in proportion to their sizes, whole numbers by largest remainder (ties by name)."""
    total = sum(sizes.values())
    if total == 0:
        return dict.fromkeys(sizes, 0)
    target = min(target, total)
    floors = {name: size * target // total for name, size in sizes.items()}
    order = sorted(sizes, key=lambda name: (-(sizes[name] * target % total), name))
    for name in order[: target - sum(floors.values())]:
        floors[name] += 1
    return floors
