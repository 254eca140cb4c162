"""Split: rows -> train, validation and test, stratified, group-aware, and frozen by what the rows say.

One decision: files that the user calls train, validation or test keep that role, and only what is missing is taken
from the rest; a test set that repeats training rows stops the run unless the project says what to do with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from luthier.core.artifacts import Dataset
from luthier.core.config import Config
from luthier.core.errors import AnswerIsNo, UserError
from luthier.core.events import Note, Progress
from luthier.core.files import write_json
from luthier.core.ledger import LedgerEntry, append_ledger, count_fates, merge_ledgers, read_ledger
from luthier.core.records import read_records, write_records
from luthier.core.stage import Built, Context, Stage
from luthier.stages.data.alike import Alike, AlikeKind, judge_likeness
from luthier.stages.data.allocate import Unit, make_units, rank_of, take
from luthier.stages.data.leakage import Leak, describe_leaks, find_leaks, find_named_leaks

if TYPE_CHECKING:
    from luthier.parts.duplicates.clusters import Find

SPLITS = ("train", "validation", "test")
STEP = "split"
_NAMED = 5


class SplitPlan(Config):
    """How rows are divided. A size is a share of the rows to divide (0.2) or a number of rows (240); 0 is none.

    A number is also kept to when the user's own file for that split has more rows; a share applies only to what we divide.
    """

    train: int | float | None = Field(default=None, description="all that is left when not given")
    validation: int | float = 0.1
    test: int | float = 0.2
    max_rows: dict[Literal["train", "validation", "test"], int] = {}
    seed: int = Field(default=13, ge=0)
    stratify: Literal["label", "none"] = "label"
    by_group: bool = Field(default=True, description="rows of one group stay on one side")
    same: Literal["prompt", "row"] = Field(default="prompt", description="what makes two rows copies of each other")
    near: float | None = Field(default=0.8, gt=0, le=1, description="Jaccard from which rows are near copies; null: not looked for")
    semantic: float | None = Field(
        default=None, gt=0, le=1, description="cosine of minilm-l6 embeddings from which rows are copies; null: not looked for"
    )
    leakage: Literal["block", "drop", "warn"] = "block"

    @field_validator("train", "validation", "test", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        share = isinstance(value, float) and 0 < value < 1
        number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not (share or number or value is None):
            raise ValueError(f"a size must be a share between 0 and 1 such as 0.2, or a whole number of rows such as 240, got {value!r}")
        return value

    @field_validator("max_rows")
    @classmethod
    def _caps(cls, value: dict[str, int]) -> dict[str, int]:
        if any(n < 1 for n in value.values()):
            raise ValueError(f"`max_rows` must be at least 1 row, got {min(value.values())}")
        return value

    def size(self, split: str) -> int | float | None:
        """The size asked for one split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def cap(self, split: str, pool: int) -> int | None:
        """The most rows that one split may have, or None. A share of training rows is one of the `pool` rows to divide."""
        size = self.size(split)
        number = size if isinstance(size, int) else max(1, round(size * pool)) if split == "train" and size is not None else None
        caps = [n for n in (self.max_rows.get(split), number) if n is not None]  # type: ignore[call-overload]
        return min(caps) if caps else None


@dataclass(frozen=True)
class Division:
    """Rows by split, in their pseudo-random order, and the rows that no split has with the reason."""

    splits: dict[str, list[Any]]
    dropped: list[tuple[Any, str]]


class Split(Stage[Dataset]):
    """Divide `dataset` by `plan`; rows that `frozen` (an earlier split) has already placed keep their place.

    against: test sets that the user names, of which no row may be learned or chosen from.
    """

    version: ClassVar[int] = 2

    dataset: Stage[Dataset]
    plan: SplitPlan = SplitPlan()
    frozen: Stage[Dataset] | None = None
    against: tuple[Stage[Dataset], ...] = ()

    def build(self, ctx: Context) -> Dataset:
        """Leaves `train.jsonl`, `validation.jsonl`, `test.jsonl`, `ledger.jsonl` and `split.json`.

        Raises AnswerIsNo when rows leak and the plan says block, UserError when there are too few rows.
        """
        source = ctx.get(self.dataset)
        roles = rows_of(source)
        named = [row for stage in self.against for rows in rows_of(ctx.get(stage)).values() for row in rows]
        earlier = places_of(ctx.get(self.frozen)) if self.frozen is not None else {}
        sealed = Sealed(named, judged([[r for rows in roles.values() for r in rows], named], self.plan, ctx))
        early = given_leaks(roles, self.plan, sealed) if self.plan.leakage == "drop" else []
        roles, gone = take_out(roles, early)
        division, late = settle_leaks(divide(roles, self.plan, earlier, sealed.alike), self.plan, sealed)
        division, leaks = Division(division.splits, gone + division.dropped), early + late
        done = "copies taken out of the less sealed split" if self.plan.leakage == "drop" else "kept because of `split.leakage: warn`"
        notes = [f"leakage, {done}: {describe_leaks(leaks)}"] if leaks else []
        notes += describe_shortfalls(self.plan, division.splits) + describe_gaps(division.splits)
        for note in notes:
            ctx.observer(Note(note, "warning"))
        return self._write(ctx, source, division, leaks, notes)

    def _write(self, ctx: Context, source: Built[Dataset], division: Division, leaks: list[Leak], notes: list[str]) -> Dataset:
        for split, rows in division.splits.items():
            write_records(ctx.dir / f"{split}.jsonl", rows)
        ledger = ctx.dir / "ledger.jsonl"
        before = source.path / "ledger.jsonl"
        merge_ledgers(ledger, [before] if before.exists() else [])
        append_ledger(ledger, _entries(division))
        classes = {split: dict(sorted(Counter(_label(r) for r in rows).items())) for split, rows in division.splits.items()}
        counts = {split: len(rows) for split, rows in division.splits.items()}
        body = {"counts": counts, "classes": classes, "dropped": len(division.dropped), "leaks": [str(x) for x in leaks], "notes": notes}
        write_json(ctx.dir / "split.json", {**body, "plan": self.plan.model_dump(mode="json")})
        return Dataset(
            kind=source.result.kind,
            files={split: f"{split}.jsonl" for split in division.splits},
            counts=counts,
            labels=source.result.labels,
            answers=source.result.answers,
            ledger=count_fates(read_ledger(ledger)),
            findings=source.result.findings,
        )


@dataclass(frozen=True, eq=False)
class Sealed:
    """Rows of the test sets that the user named, and what was judged alike, over all rows and these."""

    named: Sequence[Any] = ()
    alike: tuple[Alike, ...] = ()


def rows_of(built: Built[Dataset]) -> dict[str, list[Any]]:
    """Rows by role."""
    return {role: read_records(built.path / name) for role, name in sorted(built.result.files.items())}


def judged(sources: Sequence[Sequence[Any]], plan: SplitPlan, ctx: Context) -> tuple[Alike, ...]:
    """Each kind of likeness that the plan asks for, over all rows of all sources. Raises UserError or MachineError."""
    from luthier.parts.checks.near_duplicates import NearDuplicates
    from luthier.parts.checks.semantic_duplicates import SemanticDuplicates

    def say(what: str, done: int, total: int) -> None:
        ctx.observer(Progress(STEP, done, total, f"rows ({what})"))

    def warn(what: str) -> None:
        ctx.observer(Note(what, "warning"))

    wanted: list[tuple[AlikeKind, Find]] = []
    if plan.near is not None:
        wanted.append(("near", NearDuplicates(threshold=plan.near).finder(say, warn)))
    if plan.semantic is not None:
        wanted.append(("semantic", SemanticDuplicates(threshold=plan.semantic).finder(say)))
    return tuple(judge_likeness(sources, plan.same, kind, find) for kind, find in wanted)


def places_of(built: Built[Dataset]) -> dict[str, str]:
    """Split by content id of an earlier split; the most sealed one where a row was in several."""
    places: dict[str, str] = {}
    for split in SPLITS:
        name = built.result.files.get(split)
        places.update({r.id: split for r in read_records(built.path / name)} if name else {})
    return places


def divide(roles: dict[str, list[Any]], plan: SplitPlan, earlier: dict[str, str], alike: Sequence[Alike] = ()) -> Division:
    """Place every row. roles: rows by `any`, `train`, `validation`, `test`. Raises UserError when there are too few rows."""
    given = {split: roles[split] for split in ("validation", "test") if roles.get(split)}
    missing = [s for s in ("test", "validation") if s not in given and plan.size(s) != 0]
    rows = [*roles.get("any", []), *roles.get("train", [])]
    if not rows:
        raise UserError("there must be rows to train on", "none left besides " + (" and ".join(given) or "an empty file"), "split")
    movable = len(roles.get("any", [])) or len(rows)
    units = make_units(rows, plan.same, plan.by_group, plan.stratify == "label", plan.seed, alike)
    placed, free, fixed = _place_known(units, rows, earlier, movable)
    targets = _targets(plan, missing, movable, {s: sum(r.id in earlier and earlier[r.id] == s for r in rows) for s in missing})
    _check_room(targets, free, placed, fixed, plan)
    for i, (split, target) in enumerate(targets.items()):
        to_come = sum(n > 0 for n in list(targets.values())[i + 1 :])
        taken, free = take(free, target, leave=to_come + (not placed["train"] and not fixed))
        placed[split] += [rows[i] for unit in taken for i in unit.rows]
    dropped: list[tuple[Any, str]] = []
    train = placed.pop("train") + [rows[i] for unit in fixed + free for i in unit.rows]
    sides = {"train": train, **{s: given.get(s, []) + placed[s] for s in ("validation", "test")}}
    splits = {}
    for split, members in sides.items():
        cap = plan.cap(split, movable)
        splits[split], beyond = _capped(members, cap, plan)
        dropped += [(r, f"beyond the cap of {cap:,} {split} rows") for r in beyond]
    return Division(splits, dropped)


def _place_known(
    units: list[Unit], rows: Sequence[Any], earlier: dict[str, str], movable: int
) -> tuple[dict[str, list[Any]], list[Unit], list[Unit]]:
    """Rows placed by an earlier split (with their unit), units that may move, and units tied to the user's training rows."""
    placed: dict[str, list[Any]] = {split: [] for split in SPLITS}
    free, fixed = [], []
    for unit in units:
        known = [earlier[rows[i].id] for i in unit.rows if rows[i].id in earlier]
        if known:
            others = min(known, key=("test", "validation", "train").index)
            for i in unit.rows:
                placed[earlier.get(rows[i].id, others)].append(rows[i])
        elif max(unit.rows) >= movable:
            fixed.append(unit)
        else:
            free.append(unit)
    return placed, free, fixed


def _targets(plan: SplitPlan, missing: list[str], pool: int, already: dict[str, int]) -> dict[str, int]:
    """Rows still to take for each missing split, out of a pool of `pool` rows."""
    targets = {}
    for split in missing:
        size = plan.size(split)
        assert size is not None
        wanted = size if isinstance(size, int) else max(1, round(size * pool))
        targets[split] = max(0, min(wanted, plan.max_rows.get(split, wanted)) - already[split])  # type: ignore[call-overload]
    return targets


def _check_room(targets: dict[str, int], free: list[Unit], placed: dict[str, list[Any]], fixed: list[Unit], plan: SplitPlan) -> None:
    """Raise UserError when the rows cannot fill the splits asked for with at least one row left to train on."""
    rows, wanted = sum(u.size for u in free), sum(targets.values())
    spare = 0 if placed["train"] or fixed else 1
    asked = " + ".join(f"{n} {split}" for split, n in targets.items())
    if wanted + spare > rows:
        raise UserError(
            f"there must be more rows than the {asked} rows asked for", f"{rows} rows to divide", "split", "lower the sizes or add rows"
        )
    if wanted and len(free) < len([n for n in targets.values() if n]) + spare:
        got = f"{rows} rows in {len(free)} {'unit' if len(free) == 1 else 'units'}"
        fix = "set `split.same: row` when many rows share one prompt on purpose, `split.near: null` when many nearly do, "
        fix += "or `split.by_group: false`"
        raise UserError("rows that belong together (same prompt or group) must form at least one unit for each split", got, "split", fix)


def _capped(rows: list[Any], cap: int | None, plan: SplitPlan) -> tuple[list[Any], list[Any]]:
    """At most the cap's rows, each class in proportion; both parts in the pseudo-random order."""
    ordered = sorted(rows, key=lambda r: (rank_of(plan.seed, r.id), r.key))
    if cap is None or len(ordered) <= cap:
        return ordered, []
    label = _label if plan.stratify == "label" else lambda r: ""
    units = [Unit(f"{i:012d}", (i,), label(r)) for i, r in enumerate(ordered)]
    kept, left = take(units, cap, leave=0)
    return [ordered[u.rows[0]] for u in kept], [ordered[u.rows[0]] for u in left]


def _label(record: Any) -> str:
    return getattr(record, "label", None) or ""


def settle_leaks(division: Division, plan: SplitPlan, sealed: Sealed = Sealed()) -> tuple[Division, list[Leak]]:
    """Apply the leakage policy. Raises AnswerIsNo under `block`; `drop` removes the less sealed copies."""
    leaks = every_leak(division.splits, plan, sealed)
    if not leaks or plan.leakage == "warn":
        return division, leaks
    if plan.leakage == "block":
        fix = "set `split.leakage: drop` to take the copies out of the less sealed split, or `warn` to keep them"
        raise AnswerIsNo(f"leakage: {describe_leaks(leaks)}\n{fix}")
    splits, dropped = take_out(division.splits, leaks)
    if not splits["train"]:
        raise AnswerIsNo(f"leakage: every training row repeats a sealed row: {describe_leaks(leaks)}")
    return Division(splits, division.dropped + dropped), leaks


def given_leaks(roles: dict[str, list[Any]], plan: SplitPlan, sealed: Sealed = Sealed()) -> list[Leak]:
    """What the user's own files repeat of each other: found before rows are counted out, so that sizes still come out."""
    given = {split: roles.get(split, []) for split in ("test", "validation")}
    return every_leak({**given, "train": [*roles.get("any", []), *roles.get("train", [])]}, plan, sealed)


def every_leak(splits: dict[str, list[Any]], plan: SplitPlan, sealed: Sealed) -> list[Leak]:
    """Leaks between splits and from the test sets that the user named; each row may be in both."""
    between = find_leaks(splits, plan.same, plan.by_group, sealed.alike)
    return between + find_named_leaks(splits, sealed.named, plan.same, sealed.alike)


def take_out(rows_by: dict[str, list[Any]], leaks: list[Leak]) -> tuple[dict[str, list[Any]], list[tuple[Any, str]]]:
    """Rows without the less sealed copies, and those copies with the reason. Keys are unique in a data set."""
    reasons = {x.seen.key: f"leakage: repeats {x.sealed.source} ({x.sealed_split}, {x.kind})" for x in reversed(leaks)}
    kept = {name: [r for r in rows if r.key not in reasons] for name, rows in rows_by.items()}
    return kept, [(r, reasons[r.key]) for rows in rows_by.values() for r in rows if r.key in reasons]


def describe_shortfalls(plan: SplitPlan, splits: dict[str, list[Any]]) -> list[str]:
    """In words: splits that have fewer rows than the number that the plan asks for."""
    short = [(split, plan.size(split), len(splits[split])) for split in SPLITS]
    return [
        f"`split.{split}` asks for {asked:,} rows and gets {got:,}: there are no more to give"
        for split, asked, got in short
        if isinstance(asked, int) and got < min(asked, plan.max_rows.get(split, asked))  # type: ignore[call-overload]
    ]


def describe_gaps(splits: dict[str, list[Any]]) -> list[str]:
    """In words: classes that are missing from a split because they have too few rows."""
    totals = Counter(_label(r) for rows in splits.values() for r in rows if _label(r))
    notes = []
    for split, rows in splits.items():
        here = {_label(r) for r in rows}
        absent = sorted((n, label) for label, n in totals.items() if label not in here)
        if rows and absent:
            named = ", ".join(f"`{label}` ({n} {'row' if n == 1 else 'rows'} in all)" for n, label in absent[:_NAMED])
            more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
            what = "1 class has" if len(absent) == 1 else f"{len(absent)} classes have"
            harm = (
                ": it cannot be learnt" if split == "train" and len(absent) == 1 else ": they cannot be learnt" if split == "train" else ""
            )
            notes.append(f"{what} no {split} rows{harm}: {named}{more}")
    return notes


def _entries(division: Division) -> list[LedgerEntry]:
    kept = [LedgerEntry(r.key, r.id, str(r.source), STEP, "kept", split) for split, rows in division.splits.items() for r in rows]
    return kept + [LedgerEntry(r.key, r.id, str(r.source), STEP, "dropped", reason) for r, reason in division.dropped]
