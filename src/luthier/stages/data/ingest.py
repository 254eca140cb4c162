"""The first stage: a project's files become one data set of records, with a ledger line for every input row.

One decision: a bad row is set aside and announced (or refused, when `strict`), a safe repair is announced (or
refused, when `repairs` is off), and a data set that could not be learned from is an error, never an artifact.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import Field

from luthier.core.artifacts import Dataset
from luthier.core.config import Config
from luthier.core.errors import UserError, did_you_mean
from luthier.core.events import Note, Progress
from luthier.core.files import write_bytes, writing
from luthier.core.keys import SourceFile
from luthier.core.ledger import FATES, Fate, LedgerEntry, entry_json
from luthier.core.records import KINDS, Record, content_id, to_json
from luthier.core.stage import Context, Stage
from luthier.parts.sources.mapping import TEMPLATED, Mapping, convert
from luthier.parts.sources.mapping_base import Asking
from luthier.parts.sources.mapping_head import Texts, labels_of
from luthier.parts.sources.mapping_instruct import Classification
from luthier.parts.sources.prompt import PromptTemplate
from luthier.parts.sources.rows import WHOLE_FILE, BadRow, Change, Finding, RawRow
from luthier.parts.sources.source import Opened, open_rows
from luthier.stages.data.reading import FindingList, Inspector, ReadRow, read_rows
from luthier.stages.data.seen import Seen

Role = Literal["any", "train", "validation", "test"]
STEP = "ingest"
_ANSWERS: dict[str, Literal["text", "labels", "number"]] = {"multi_label": "labels", "regression": "number"}
_EVERY = 2000  # rows between two progress events


class DataFile(Config):
    """One file and the split its rows belong to (`any`: rows that are split later). notes: how it was made from its source."""

    source: SourceFile
    role: Role = "any"
    notes: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """The bytes and the role; how they came here is no part of what the rows are."""
        return {"source": self.source, "role": self.role}


class Ingest(Stage[Dataset]):
    """Reads files into `<role>.jsonl`, `ledger.jsonl` and `findings.json`.

    labels: the classes of a classification data set; None takes the sorted set in the data. A label that is
    not listed sets its row aside.
    """

    files: tuple[DataFile, ...] = Field(min_length=1)
    mapping: Mapping
    prompt: PromptTemplate | None = None
    labels: tuple[str, ...] | None = None
    strict: bool = Field(default=False, description="any bad row is an error")
    repairs: bool = Field(default=True, description="safe repairs (BOM, line ends, role spelling ...) are made and announced")

    def build(self, ctx: Context) -> Dataset:
        """Read every file once (twice when the prompt shows labels that are not given). Raises UserError."""
        self._check()
        names = display_names([Path(f.source.path) for f in self.files])
        asking = Asking(self.prompt, self._labels(names))
        writing = _Writing(ctx.dir, several=self.mapping.kind == "multi_label")
        with ExitStack() as stack:
            writing.open(stack, sorted({f.role for f in self.files}))
            for file, name in zip(self.files, names, strict=True):
                self._read(file, name, asking, writing, ctx)
        for found in writing.inspector.finish():
            writing.findings.add(found)
        return self._result(writing, names, asking, ctx)

    def _check(self) -> None:
        """Raise UserError for settings that do not fit together."""
        if self.prompt is not None and self.mapping.kind not in TEMPLATED:
            raise UserError(f"a prompt template goes with {', '.join(TEMPLATED)}", f"kind: {self.mapping.kind}", "data.prompt")
        if self.prompt is not None and isinstance(self.mapping, Texts) and self.mapping.pair is not None:
            fix = "leave one of them out: the template can show both columns, the pair is for encoders"
            raise UserError("a prompt template and a pair of texts exclude each other", self.mapping.pair, "data.mapping.pair", fix)
        if self.labels is None:
            known: tuple[str, ...] = ()
        else:
            known = self.labels
            if self.mapping.kind not in ("classification", "multi_label"):
                raise UserError("labels go with a classification or multi_label mapping", f"kind: {self.mapping.kind}", "data.labels")
            twice = sorted({label for label in known if known.count(label) > 1})
            if len(known) < 2 or twice:
                raise UserError("at least two different labels must be listed", f"{twice or list(known)}", "data.labels")
        for label in self.prompt.label_text if self.prompt and known else ():
            if label not in known:
                raise UserError("label_text must name listed labels", repr(label), "data.prompt.label_text", did_you_mean(label, known))

    def _labels(self, names: list[str]) -> tuple[str, ...]:
        """The allowed labels: as listed; the set in the data when the prompt shows them; else () for any."""
        if self.labels is not None:
            return self.labels
        if self.prompt is not None and "labels" in self.prompt.placeholders() and self.mapping.kind == "multi_label":
            raise UserError("a prompt that shows {labels} needs them listed", None, "data.labels", "for example labels: [late, refund]")
        if self.prompt is None or "labels" not in self.prompt.placeholders() or not isinstance(self.mapping, Classification):
            return ()
        found: set[str] = set()
        for file, name in zip(self.files, names, strict=True):
            rows = (item for item in open_rows(Path(file.source.path), mapping=self.mapping).items if isinstance(item, RawRow))
            found.update(self.mapping.label_of(row.fields) for row in rows if not isinstance(convert(row, self.mapping, name), BadRow))
        return tuple(sorted(found))

    def _read(self, file: DataFile, name: str, asking: Asking, writing: _Writing, ctx: Context) -> None:
        opened = open_rows(Path(file.source.path), mapping=self.mapping)
        if opened.format == "manifest":
            raise UserError("a run names its data files one by one", "a list of files", name, "put the listed files under data.files")
        kept = writing.num_kept
        for note in file.notes:
            writing.file_change(Change(WHOLE_FILE, note), name, ctx)
        for i, item in enumerate(read_rows(opened, self.mapping, name, asking)):
            if isinstance(item, ReadRow):
                self._refuse_repair(item.changes, f"{name} {item.at}")
                writing.keep(item, name, file.role)
            elif isinstance(item, BadRow):
                if self.strict:
                    raise UserError(
                        "no bad row is allowed (strict)", item.reason, f"{name} {item.at}", "correct the row, or set data.strict to false"
                    )
                writing.set_aside(item, name)
            elif isinstance(item, Change):
                self._refuse_repair((item.reason,), name)
                writing.file_change(item, name, ctx)
            else:
                writing.findings.add(replace(item, at=f"{name} {item.at}"))
            if i % _EVERY == 0:
                _progress(opened, ctx)
                if ctx.stop_requested():
                    ctx.stop("reading starts again from the first file")
        if writing.num_kept == kept:
            first = next((f": {r}" for r in writing.reasons if r), "")
            raise UserError(
                "a data file must hold usable rows", f"none kept{first}", name, f"look at it with `luthier data check {file.source.path}`"
            )
        ctx.observer(Progress(STEP, opened.meter.total, opened.meter.total, "bytes"))

    def _refuse_repair(self, changes: tuple[str, ...], where: str) -> None:
        if changes and not self.repairs:
            raise UserError("no repair is allowed (repairs: false)", changes[0], where)

    def _result(self, writing: _Writing, names: list[str], asking: Asking, ctx: Context) -> Dataset:
        labels = self._final_labels(writing, asking)
        kinds = {kind for kind, cls in KINDS.items() if cls in writing.classes}
        writing.write_findings()
        fates = dict(writing.fates)
        if fates.get("set_aside"):
            reasons = ", ".join(f"{n:,} x {r}" for r, n in writing.reasons.most_common(3))
            ctx.observer(Note(f"{fates['set_aside']:,} of {sum(fates.values()):,} rows set aside ({reasons}); see ledger.jsonl", "warning"))
        found = writing.findings.all()
        if found:
            by_check = ", ".join(f"{check} {n:,}" for check, n in writing.findings.counts.most_common())
            ctx.observer(Note(f"findings: {by_check}; see findings.json", "warning"))
        return Dataset(
            kind=kinds.pop(),
            files={role: f"{role}.jsonl" for role in writing.counts},
            counts=dict(writing.counts),
            labels=labels,
            answers=_ANSWERS.get(self.mapping.kind, "text"),
            ledger={fate: fates.get(fate, 0) for fate in FATES},
            findings=sum(writing.findings.counts.values()),
        )

    def _final_labels(self, writing: _Writing, asking: Asking) -> tuple[str, ...]:
        """The labels as shown to the model. Raises UserError for one class only."""
        if self.mapping.kind not in ("classification", "multi_label"):
            return ()
        if len(writing.labels) < 2:
            only = next(iter(writing.labels), "none")
            raise UserError("a classification data set must hold at least two classes", f"only one class: {only!r}", "data.files")
        order = asking.labels or tuple(sorted(writing.labels))
        return tuple(self.prompt.words(label) for label in asking.labels) if self.prompt and asking.labels else order


@dataclass
class _Writing:
    """The open output of one build and what has been counted."""

    folder: Path
    several: bool = False
    inspector: Inspector = field(default_factory=Inspector)
    findings: FindingList = field(default_factory=FindingList)
    counts: Counter[str] = field(default_factory=Counter)
    fates: Counter[Fate] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    classes: set[type[Record]] = field(default_factory=set)
    num_kept: int = 0
    _seen: Seen = field(default_factory=Seen)
    _files: dict[str, IO[str]] = field(default_factory=dict)

    def open(self, stack: ExitStack, roles: list[Role]) -> None:
        """Open one file per role, and begin the ledger anew."""
        for name in (*roles, "ledger"):
            path = self.folder / f"{name}.jsonl"
            stack.enter_context(writing(path))
            self._files[name] = stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        self.counts.update(dict.fromkeys(roles, 0))

    def keep(self, row: ReadRow, name: str, role: Role) -> None:
        """Write a row's records under keys that are unique in the whole data set."""
        fate: Fate = "changed" if row.changes else "kept"
        for record in row.records:
            rid = content_id(record)
            number = self._seen.number(rid)
            record = replace(record, id=rid, key=rid if number == 1 else f"{rid}-{number}")
            self._line(role, to_json(record))
            self.counts[role] += 1
            self.classes.add(type(record))
            label = getattr(record, "label", None)
            if label is not None:
                self.labels.add(label)
            elif self.several:
                self.labels.update(labels_of([record.reference]))  # type: ignore[union-attr]
            for found in self.inspector.look(record, f"{name} {row.at}"):
                self.findings.add(found)
            self._ledger(LedgerEntry(record.key, rid, str(record.source), STEP, fate, "; ".join(row.changes)))
        self.num_kept += 1

    def set_aside(self, row: BadRow, name: str) -> None:
        """Write a bad row's ledger line."""
        self.reasons[row.reason if len(self.reasons) < 1000 else "other reasons"] += 1
        self._ledger(LedgerEntry("", "", f"{name} {row.at}", STEP, "set_aside", row.reason))

    def file_change(self, change: Change, name: str, ctx: Context) -> None:
        """Announce a change to a whole file, and keep it with the findings."""
        ctx.observer(Note(f"{name}: {change.reason}"))
        self.findings.shown.append(Finding(f"{name} {change.at}", change.reason, "change"))

    def _ledger(self, entry: LedgerEntry) -> None:
        self.fates[entry.fate] += 1
        self._line("ledger", entry_json(entry))

    def _line(self, name: str, body: dict[str, Any]) -> None:
        with writing(self.folder / f"{name}.jsonl"):
            self._files[name].write(json.dumps(body, ensure_ascii=False) + "\n")

    def write_findings(self) -> None:
        """Write findings.json: a list of {at, reason, check, where}."""
        text = json.dumps([asdict(f) for f in self.findings.all()], ensure_ascii=False, indent=1)
        write_bytes(self.folder / "findings.json", (text + "\n").encode())


def display_names(paths: list[Path]) -> list[str]:
    """A short name for each file: its base name, with as many folders before it as make it the only one."""
    endings = Counter(path.parts[-depth:] for path in set(paths) for depth in range(1, len(path.parts) + 1))
    names: list[str] = []
    for path in paths:
        depths = range(1, len(path.parts))
        names.append("/".join(next((path.parts[-d:] for d in depths if endings[path.parts[-d:]] == 1), path.parts)))
    twice = next((str(p) for p, times in Counter(paths).items() if times > 1), "")
    if twice:
        raise UserError("each data file must be listed once", twice, "data.files")
    return names


def _progress(opened: Opened, ctx: Context) -> None:
    ctx.observer(Progress(STEP, opened.meter.done, opened.meter.total, "bytes"))
