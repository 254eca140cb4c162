"""Building one stage in a test: a context without a store, and a dataset that is just there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.core.artifacts import BaseModel, Dataset
from luthier.core.events import Event, Note
from luthier.core.execution import Execution
from luthier.core.ledger import LedgerEntry, append_ledger
from luthier.core.records import Example, Message, Source, with_ids, write_records
from luthier.core.stage import Built, Stage


class Given(Stage[Dataset]):
    """A dataset that exists already: a folder and its result."""

    folder: str
    artifact: Dataset

    def build(self, ctx: Any) -> Dataset:
        raise AssertionError("it is already built")


class GivenBase(Stage[BaseModel]):
    """A base model that exists already."""

    folder: str
    artifact: BaseModel

    def build(self, ctx: Any) -> BaseModel:
        raise AssertionError("it is already built")


class TestContext:
    """Builds inputs on demand below `root`; keeps every event."""

    __test__ = False

    def __init__(self, root: Path) -> None:
        self.root, self.dir, self.execution = root, root, Execution()
        self.events: list[Event] = []
        self.built: dict[str, Built[Any]] = {}

    def observer(self, event: Event) -> None:
        self.events.append(event)

    @property
    def notes(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, Note)]

    def get(self, stage: Stage[Any]) -> Built[Any]:
        if isinstance(stage, (Given, GivenBase)):
            return Built(stage="given", key="0" * 64, path=Path(stage.folder), result=stage.artifact)
        if stage.key() not in self.built:
            below = TestContext(self.root)
            below.events, below.built = self.events, self.built
            below.dir = self.root / f"{stage.stage_name()}-{stage.key()[:12]}"
            below.dir.mkdir(parents=True)
            result = stage.build(below)  # type: ignore[arg-type]
            self.built[stage.key()] = Built(stage=stage.stage_name(), key=stage.key(), path=below.dir, result=result)
        return self.built[stage.key()]

    def stop_requested(self) -> bool:
        return False

    def stop(self, done: str) -> None:
        raise AssertionError(done)


def example(text: str, label: str | None = None, at: str = "row 1", group: str | None = None, file: str = "rows.csv") -> Example:
    """A one-turn row."""
    answer = "ok" if label is None else label
    return Example((Message("user", text), Message("assistant", answer)), Source(file, at), label=label, group=group)


def dataset(folder: Path, **roles: Sequence[Example]) -> Given:
    """Write rows by role (`any`, `train` ...) with ids and an ingest ledger, as the first stage would."""
    folder.mkdir(parents=True)
    files, counts, labels = {}, {}, set()
    every = with_ids(row for rows in roles.values() for row in rows)  # keys are unique in the whole data set
    for role, rows in roles.items():
        named = list(islice(every, len(rows)))
        files[role] = f"{role}.jsonl"
        counts[role] = write_records(folder / files[role], named)
        labels |= {r.label for r in rows if r.label is not None}
        append_ledger(folder / "ledger.jsonl", [LedgerEntry(r.key, r.id, str(r.source), "ingest", "kept") for r in named])
    result = Dataset(kind="example", files=files, counts=counts, labels=tuple(sorted(labels)))
    return Given(folder=str(folder), artifact=result)
